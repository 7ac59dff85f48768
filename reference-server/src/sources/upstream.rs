//! The one way to ask another service.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde::de::DeserializeOwned;

use super::error::SourceError;

const USER_AGENT: &str = concat!("hm-server/", env!("CARGO_PKG_VERSION"));

/// The client that all sources share.
///
/// It follows no redirects and reads no proxy from the environment. On a machine without certificate authorities it
/// trusts nobody, so that `https` upstreams fail but the server runs.
pub(super) fn client(connect_timeout: Duration) -> Result<Client, reqwest::Error> {
    let builder = || {
        Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(connect_timeout)
            .pool_max_idle_per_host(8)
    };
    builder().build().or_else(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "no certificate authorities could be loaded; sources behind https will fail"
        );
        builder().tls_certs_only([]).build()
    })
}

/// A service at a base URL, whose answers are read up to a bound.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    client: Client,
    base: Url,
    body_limit: usize,
}

impl Upstream {
    /// The service at `base`, which ends in a slash.
    pub(super) fn new(client: Client, base: Url, body_limit: usize) -> Self {
        Self {
            client,
            base,
            body_limit,
        }
    }

    /// Its base URL.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Asks for JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, SourceError> {
        let body = self.get(path, query, "application/json").await?;
        // What serde says about it could repeat parts of the body, so it is not kept.
        serde_json::from_slice(&body).map_err(|_| SourceError::BadAnswer("unexpected JSON"))
    }

    /// Asks for a document.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        accept: &str,
    ) -> Result<Vec<u8>, SourceError> {
        let mut url = self.base.join(path).map_err(|error| SourceError::Upstream {
            status: None,
            cause: Some(Box::new(error)),
        })?;
        url.query_pairs_mut().extend_pairs(query);
        let response = self
            .client
            .get(url)
            .header(http::header::ACCEPT, accept)
            .send()
            .await
            .map_err(on_the_way)?;
        let status = response.status();
        if !status.is_success() {
            return Err(SourceError::answered(status.as_u16()));
        }
        self.read(response).await
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, SourceError> {
        let too_large = SourceError::BadAnswer("larger than allowed");
        let announced = response.content_length().unwrap_or(0);
        if announced > u64::try_from(self.body_limit).unwrap_or(u64::MAX) {
            return Err(too_large);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(on_the_way)? {
            if body.len() + chunk.len() > self.body_limit {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The error without the URL, which has the query in it.
fn on_the_way(error: reqwest::Error) -> SourceError {
    if error.is_timeout() {
        SourceError::Timeout
    } else {
        SourceError::Upstream {
            status: None,
            cause: Some(Box::new(error.without_url())),
        }
    }
}
