//! A server in process, a clock that is moved by hand, and requests that read like sentences.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hm_metering::{Clock, Timestamp};
use hm_server::app::App;
use hm_server::build_service;
use hm_server::config::Config;
use hm_server::metrics::Metrics;
use hm_server::secret::Secret;
use hm_server::secrets::Secrets;
use salvo::Service;
use salvo::http::{HeaderMap, Method, ReqBody, Request};
use salvo::test::{RequestBuilder, ResponseExt};
use serde_json::{Value, json};

/// 22 November 2026, noon.
const NOON: i64 = 1_795_348_800_000_000;

pub const ADMIN_KEY: &str = "an admin key for tests, 32 bytes long";
pub const PASSWORD: &str = "correct horse battery";

pub struct TestClock {
    start: i64,
    moved: AtomicI64,
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.moved
            .fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.start + self.moved.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.moved.load(Ordering::SeqCst).unsigned_abs())
    }
}

pub struct Server {
    pub app: App,
    pub clock: Arc<TestClock>,
    pub service: Service,
    _journal: tempfile::TempDir,
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    /// On an SQLite file of its own, with cheap password hashes.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With more settings.
    pub async fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("hm.sqlite").display());
        Self {
            _folder: Some(folder),
            ..Self::on(&url, settings).await
        }
    }

    /// One that tells of a recorder that is in use on this thread.
    pub async fn measured(metrics: Metrics) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("hm.sqlite").display());
        Self {
            _folder: Some(folder),
            ..Self::measured_on(&url, "", metrics).await
        }
    }

    /// On a database that is there already.
    pub async fn on(url: &str, settings: &str) -> Self {
        let (_, metrics) = Metrics::new().unwrap();
        Self::measured_on(url, settings, metrics).await
    }

    async fn measured_on(url: &str, settings: &str, metrics: Metrics) -> Self {
        let file = format!("{settings}\n[auth.password]\nmemory_kib = 8\niterations = 1");
        let journal = tempfile::tempdir().unwrap();
        let variables = vec![
            ("DATABASE_URL".into(), url.into()),
            ("HM_JOURNAL".into(), journal.path().into()),
        ];
        let config = Config::parse(&file, variables).unwrap();
        let secrets = Secrets {
            jwt_secret: Secret::new("a secret for tests, 32 bytes long"),
            key_pepper: Secret::new("a pepper for tests, 32 bytes long"),
            admin_key: Some(Secret::new(ADMIN_KEY)),
        };
        let clock = Arc::new(TestClock {
            start: NOON,
            moved: AtomicI64::new(0),
        });
        let app = App::start(config, &secrets, Arc::<TestClock>::clone(&clock), metrics)
            .await
            .unwrap();
        let service = build_service(app.clone()).unwrap();
        Self {
            app,
            clock,
            service,
            _journal: journal,
            _folder: None,
        }
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::GET, path)
    }

    pub fn head(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::HEAD, path)
    }

    pub fn delete(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::DELETE, path)
    }

    pub fn options(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::OPTIONS, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call<'_> {
        Call::new(self, Method::POST, path).json(body)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Call<'_> {
        Call::new(self, Method::PATCH, path).json(body)
    }

    /// Any method.
    pub fn method(&self, method: &str, path: &str) -> Call<'_> {
        Call::new(self, method.parse().unwrap(), path)
    }

    /// A POST without a body.
    pub fn poke(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::POST, path)
    }

    /// Somebody who has just registered.
    pub async fn register(&self, email: &str) -> Person {
        let body = json!({ "email": email, "password": PASSWORD, "name": "Ada" });
        let answer = self.post("/api/v1/auth/register", &body).send().await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        Person::from(answer.json())
    }

    pub async fn login(&self, email: &str, password: &str) -> Answer {
        self.post(
            "/api/v1/auth/login",
            &json!({ "email": email, "password": password }),
        )
        .send()
        .await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/api/v1/auth/refresh", &json!({ "refreshToken": token }))
            .send()
            .await
    }
}

impl Server {
    /// A key that the person makes.
    pub async fn key_of(&self, person: &Person) -> Key {
        let answer = self
            .post("/api/v1/keys", &json!({ "name": "test" }))
            .token(&person.access_token)
            .send()
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let json = answer.json();
        Key {
            id: json["id"].as_str().unwrap().to_owned(),
            key: json["key"].as_str().unwrap().to_owned(),
        }
    }

    /// A metered request that needs no network.
    pub async fn ask(&self, key: &str) -> Answer {
        self.get("/api/v1/data?source=curiosity")
            .header("x-api-key", key)
            .send()
            .await
    }

    pub async fn usage(&self, person: &Person) -> Value {
        let answer = self.get("/api/v1/usage").token(&person.access_token).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

/// A key just made.
pub struct Key {
    pub id: String,
    pub key: String,
}

/// Somebody with tokens.
pub struct Person {
    pub access_token: String,
    pub refresh_token: String,
    pub json: Value,
}

impl From<Value> for Person {
    fn from(json: Value) -> Self {
        Self {
            access_token: json["accessToken"].as_str().unwrap().to_owned(),
            refresh_token: json["refreshToken"].as_str().unwrap().to_owned(),
            json,
        }
    }
}

/// A request that is being put together.
pub struct Call<'a> {
    server: &'a Server,
    builder: RequestBuilder,
    client: IpAddr,
}

impl<'a> Call<'a> {
    fn new(server: &'a Server, method: Method, path: &str) -> Self {
        let builder = RequestBuilder::new(format!("http://localhost{path}"), method);
        Self {
            server,
            builder,
            client: IpAddr::from([127, 0, 0, 1]),
        }
    }

    pub fn json(self, body: &Value) -> Self {
        Self {
            builder: self.builder.json(body),
            ..self
        }
    }

    pub fn body(self, content_type: &'static str, body: impl Into<ReqBody>) -> Self {
        self.header("content-type", content_type).raw(body)
    }

    pub fn raw(self, body: impl Into<ReqBody>) -> Self {
        Self {
            builder: self.builder.body(body),
            ..self
        }
    }

    pub fn header(self, name: &'static str, value: &str) -> Self {
        Self {
            builder: self.builder.add_header(name, value, false),
            ..self
        }
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn from(self, client: &str) -> Self {
        Self {
            client: client.parse().unwrap(),
            ..self
        }
    }

    pub async fn send(self) -> Answer {
        let mut request: Request = self.builder.build();
        *request.remote_addr_mut() = SocketAddr::new(self.client, 4711).into();
        let mut response = self.server.service.handle(request).await;
        let body = response.take_bytes(None).await.unwrap_or_default();
        Answer {
            status: response.status_code.unwrap().as_u16(),
            headers: response.headers().clone(),
            body: body.to_vec(),
        }
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a problem document with this status and code, and gives it back.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["type"].is_string(), "{problem}");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        assert_eq!(problem["requestId"], self.header("x-request-id"), "{problem}");
        problem
    }
}
