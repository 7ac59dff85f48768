//! The address of a database on a server, in its parts.

use std::net::SocketAddr;

/// Of `scheme://user:password@host:port/database?parameters`. Nothing in it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    scheme: &'a str,
    credentials: Option<&'a str>,
    /// The server's name or number.
    pub host: &'a str,
    /// Its port, or the one that servers of this kind usually have.
    pub port: u16,
    path: &'a str,
}

impl<'a> Address<'a> {
    /// Takes it apart.
    ///
    /// # Panics
    ///
    /// When it is no database on a server.
    #[must_use]
    pub fn of(url: &'a str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("an address");
        let (authority, path) = rest.split_once('/').expect("a database on a server");
        let (credentials, server) = match authority.rsplit_once('@') {
            Some((credentials, server)) => (Some(credentials), server),
            None => (None, authority),
        };
        let usual = if scheme == "postgres" { 5432 } else { 3306 };
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().expect("a port")),
            None => (server, usual),
        };
        Self {
            scheme,
            credentials,
            host,
            port,
            path,
        }
    }

    /// Who signs in; empty where nobody is named.
    #[must_use]
    pub fn user(&self) -> &'a str {
        let credentials = self.credentials.unwrap_or_default();
        credentials.split_once(':').map_or(credentials, |(user, _)| user)
    }

    /// With what; empty where nothing is needed.
    #[must_use]
    pub fn password(&self) -> &'a str {
        let password = self.credentials.and_then(|both| both.split_once(':'));
        password.map_or("", |(_, password)| password)
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &'a str {
        self.path.split_once('?').map_or(self.path, |(name, _)| name)
    }

    /// The same database, reached at another place.
    #[must_use]
    pub fn by_way_of(&self, place: SocketAddr) -> String {
        let credentials = self.credentials.map_or(String::new(), |both| format!("{both}@"));
        format!("{}://{credentials}{place}/{}", self.scheme, self.path)
    }
}
