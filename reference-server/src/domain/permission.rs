//! Who may do what for an account.

use hm_metering_seaorm::entity::MemberRole;

/// Something that a member wants to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// See keys, never the keys themselves.
    ReadKeys,
    /// Make, change and revoke keys.
    ManageKeys,
    /// See usage.
    ReadUsage,
}

/// Whether a member with this role may do that.
#[must_use]
pub fn may(role: MemberRole, action: Action) -> bool {
    match action {
        Action::ReadKeys | Action::ReadUsage => true,
        Action::ManageKeys => match role {
            MemberRole::Owner | MemberRole::Admin | MemberRole::Developer => true,
            MemberRole::Billing | MemberRole::Viewer => false,
        },
    }
}
