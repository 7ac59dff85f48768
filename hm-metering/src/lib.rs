//! API keys, rate limits, exact quotas and a usage ledger as one Tower layer.
