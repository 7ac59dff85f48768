//! People who use the server, and their keys.

use serde_json::{Value, json};

use crate::http::Call;
use crate::server::Server;

/// What everybody here signs in with.
pub const PASSWORD: &str = "correct horse battery staple";

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// The address they sign in with.
    pub email: String,
    /// Their access token.
    pub access_token: String,
    /// Their refresh token.
    pub refresh_token: String,
}

/// An API key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// The key itself.
    pub text: String,
}

impl Person {
    /// Opens an account.
    ///
    /// # Panics
    ///
    /// When the answer is not what it should be.
    pub async fn register(server: &Server, email: &str) -> Self {
        server.keep_secret(PASSWORD);
        let body = json!({ "email": email, "password": PASSWORD, "name": "Ada" });
        let answer = server
            .call(Call::post("/api/v1/auth/register", &body))
            .await
            .expect(201);
        assert_eq!(answer["user"]["email"], email, "the answer to register");
        assert_eq!(answer["account"]["tier"], "free", "the answer to register");
        Self::signed_in(server, email, &answer)
    }

    /// Signs in to an account that is there.
    ///
    /// # Panics
    ///
    /// When the answer is not what it should be.
    pub async fn log_in(server: &Server, email: &str) -> Self {
        server.keep_secret(PASSWORD);
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = server
            .call(Call::post("/api/v1/auth/login", &body))
            .await
            .expect(200);
        Self::signed_in(server, email, &answer)
    }

    fn signed_in(server: &Server, email: &str, answer: &Value) -> Self {
        let [access_token, refresh_token] = ["accessToken", "refreshToken"].map(|name| text(answer, name));
        // The parts before say nothing that others could not write; the signature makes the token.
        server.keep_secret(access_token.rsplit('.').next().unwrap());
        server.keep_secret(&refresh_token);
        assert!(answer["expiresIn"].as_u64().is_some_and(|seconds| seconds > 0));
        Self {
            email: email.to_owned(),
            access_token,
            refresh_token,
        }
    }

    /// Makes a key.
    ///
    /// # Panics
    ///
    /// When the answer is not what it should be.
    pub async fn create_key(&self, server: &Server, name: &str) -> Key {
        let call = Call::post("/api/v1/keys", &json!({ "name": name })).bearer(&self.access_token);
        let answer = server.call(call).await.expect(201);
        assert_eq!(answer["name"], name);
        let key = Key {
            id: text(&answer, "id"),
            text: text(&answer, "key"),
        };
        key.keep_secret(server);
        key
    }

    /// `GET /api/v1/keys`: all of them.
    ///
    /// # Panics
    ///
    /// When the answer is not what it should be.
    pub async fn keys(&self, server: &Server) -> Vec<Value> {
        let mut keys = Vec::new();
        let mut path = "/api/v1/keys?limit=100".to_owned();
        loop {
            let page = server
                .call(Call::get(&path).bearer(&self.access_token))
                .await
                .expect(200);
            keys.extend(page["data"].as_array().expect("a list of keys").iter().cloned());
            match page["nextCursor"].as_str() {
                Some(cursor) => path = format!("/api/v1/keys?limit=100&cursor={cursor}"),
                None => return keys,
            }
        }
    }

    /// `GET /api/v1/usage`.
    ///
    /// # Panics
    ///
    /// When the answer is not 200.
    pub async fn usage(&self, server: &Server) -> Value {
        server
            .call(Call::get("/api/v1/usage").bearer(&self.access_token))
            .await
            .expect(200)
    }
}

impl Key {
    /// Tells a server that this key is a secret: without the beginning and the end, which lists show.
    pub fn keep_secret(&self, server: &Server) {
        let random = self.text.rsplit('_').next().unwrap();
        server.keep_secret(&random[4..random.len() - 4]);
    }
}

fn text(answer: &Value, name: &str) -> String {
    answer[name]
        .as_str()
        .unwrap_or_else(|| panic!("the answer lacks {name}"))
        .to_owned()
}
