//! Request bodies: JSON, strictly.

use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::iter;
use std::marker::PhantomData;

use salvo::extract::{Extractible, Metadata};
use salvo::http::header::CONTENT_LENGTH;
use salvo::http::{ParseError, StatusCode};
use salvo::oapi::{Components, Content, EndpointArgRegister, Operation, RequestBody, Required, ToSchema};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Writer, async_trait};
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::error::Category;

use crate::error::AppError;

/// A request body that is a JSON object with exactly the fields of `T`.
///
/// Not JSON: 415. Too long: 413. Malformed: 400 `malformed_json`. Unknown, missing or mistyped fields: 422
/// `invalid_request`. `T` should deny unknown fields.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// As [`JsonBody`], but there may be no body at all.
#[derive(Debug)]
pub struct OptionalJsonBody<T>(pub Option<T>);

/// Sets how long a request body may be, for all handlers below.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

#[async_trait]
impl Handler for BodyLimit {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, _res: &mut Response, _ctrl: &mut FlowCtrl) {
        req.set_secure_max_size(self.0);
    }
}

impl<'ex, T: DeserializeOwned + Send> Extractible<'ex> for JsonBody<T> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    async fn extract(
        req: &'ex mut Request,
        _depot: &'ex mut Depot,
    ) -> Result<Self, impl Writer + Send + Debug + 'static> {
        match require_json(req) {
            Ok(()) => read(req).await.and_then(|body| parse(body)).map(Self),
            Err(error) => Err(error),
        }
    }
}

impl<'ex, T: DeserializeOwned + Send> Extractible<'ex> for OptionalJsonBody<T> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    async fn extract(
        req: &'ex mut Request,
        _depot: &'ex mut Depot,
    ) -> Result<Self, impl Writer + Send + Debug + 'static> {
        let is_json = require_json(req);
        match read(req).await {
            Ok([]) => Ok(Self(None)),
            Ok(body) => is_json.and_then(|()| parse(body)).map(|value| Self(Some(value))),
            Err(error) => Err(error),
        }
    }
}

fn require_json(req: &Request) -> Result<(), AppError> {
    let is_json = req.content_type().is_some_and(|given| {
        let json = given.type_() == "application"
            && (given.subtype() == "json" || given.suffix().is_some_and(|suffix| suffix == "json"));
        json && given
            .get_param("charset")
            .is_none_or(|charset| charset.as_str().eq_ignore_ascii_case("utf-8"))
    });
    if is_json {
        return Ok(());
    }
    Err(AppError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "Send JSON with `Content-Type: application/json`.",
    ))
}

async fn read(req: &mut Request) -> Result<&[u8], AppError> {
    let limit = req.secure_max_size();
    let announced = req
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    match req.payload_with_max_size(limit).await {
        Ok(body) => Ok(body),
        Err(ParseError::PayloadTooLarge) => Err(too_large(limit)),
        Err(_) => Err(AppError::bad_request(
            "unreadable_body",
            "The request body ended too early.",
        )),
    }
}

fn too_large(limit: usize) -> AppError {
    AppError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("The request body may have at most {limit} bytes."),
    )
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AppError> {
    let malformed = |detail: String| AppError::bad_request("malformed_json", detail);
    let text = std::str::from_utf8(body).map_err(|_| malformed("The body is not valid UTF-8.".to_owned()))?;
    if text.trim_ascii().is_empty() {
        return Err(malformed("The body is empty.".to_owned()));
    }
    let syntax = |error: &serde_json::Error| {
        malformed(format!(
            "The body is not valid JSON: see line {}, column {}.",
            error.line(),
            error.column()
        ))
    };
    let fields: Fields = serde_json::from_str(text).map_err(|error| match error.classify() {
        // Reading stopped at what is no object; whether the rest is JSON is still to be seen.
        Category::Data => match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => AppError::invalid_field("", "must be a JSON object that has each field once"),
            Err(error) => syntax(&error),
        },
        Category::Io | Category::Syntax | Category::Eof => syntax(&error),
    })?;
    // serde does not say where it was when it failed, so the iterator remembers.
    let current = RefCell::new(None);
    let remembered = fields
        .0
        .into_iter()
        .inspect(|(name, _)| *current.borrow_mut() = Some(name.clone()))
        .chain(iter::from_fn(|| {
            *current.borrow_mut() = None;
            None
        }));
    let parsed = T::deserialize(MapDeserializer::new(remembered));
    parsed.map_err(|error: serde_json::Error| explain(&error.to_string(), current.take()))
}

/// Says which field is wrong and what it should be. The value is not repeated: it may be a password.
fn explain(error: &str, current: Option<String>) -> AppError {
    if let Some(name) = error
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next())
    {
        let field = current.map_or_else(|| name.to_owned(), |above| format!("{above}.{name}"));
        return AppError::invalid_field(field, "is required");
    }
    let field = current.unwrap_or_default();
    if let Some(name) = error
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next())
    {
        let field = if name == field {
            field
        } else {
            format!("{field}.{name}")
        };
        return AppError::invalid_field(field, "is not known");
    }
    match error.rsplit_once("expected ") {
        Some((_, expected)) => AppError::invalid_field(field, format!("must be {expected}")),
        None => AppError::invalid_field(field, "is not valid"),
    }
}

/// The members of a JSON object in their order; a member that comes twice is refused.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some((name, value)) = map.next_entry()? {
            // Bodies are short, and no type has more than a handful of fields.
            if fields.len() == 256 || fields.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a member comes twice"));
            }
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }
}

impl<T: ToSchema> EndpointArgRegister for JsonBody<T> {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        operation.request_body = Some(described::<T>(components, PhantomData).required(Required::True));
    }
}

impl<T: ToSchema> EndpointArgRegister for OptionalJsonBody<T> {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        operation.request_body = Some(described::<T>(components, PhantomData).required(Required::False));
    }
}

fn described<T: ToSchema>(components: &mut Components, _body: PhantomData<T>) -> RequestBody {
    RequestBody::new().add_content("application/json", Content::new(T::to_schema(components)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Sample {
        first_name: String,
        #[serde(default)]
        age: Option<u8>,
        #[serde(default)]
        tags: Vec<String>,
    }

    fn fails(body: &str) -> (u16, &'static str, String) {
        let error = parse::<Sample>(body.as_bytes()).unwrap_err();
        let mut res = Response::new();
        let (status, code) = (error.status().as_u16(), error.code());
        error.render("", &mut res);
        let salvo::http::ResBody::Once(body) = res.take_body() else {
            panic!("a body")
        };
        (status, code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn what_fits_is_taken() {
        let sample: Sample = parse(br#"{"firstName": "Ada", "age": 36, "tags": ["a"]}"#).unwrap();
        assert_eq!(
            (sample.first_name.as_str(), sample.age, sample.tags.len()),
            ("Ada", Some(36), 1)
        );
    }

    #[test]
    fn syntax_is_one_thing_and_content_another() {
        for malformed in ["", "  ", "{", "{\"a\":}", "nonsense", "{\"firstName\":\"a\"} x"] {
            let (status, code, _) = fails(malformed);
            assert_eq!((status, code), (400, "malformed_json"), "{malformed}");
        }
        for wrong in [
            "[]",
            "5",
            "null",
            "\"text\"",
            r#"{"firstName":"a","firstName":"b"}"#,
        ] {
            let (status, code, _) = fails(wrong);
            assert_eq!((status, code), (422, "invalid_request"), "{wrong}");
        }
    }

    #[test]
    fn the_field_is_named_and_its_value_is_not_repeated() {
        let cases = [
            (r#"{"age": 3}"#, "firstName", "is required"),
            (r#"{"firstName": "a", "admin": true}"#, "admin", "is not known"),
            (r#"{"firstName": 4711}"#, "firstName", "must be a string"),
            (r#"{"firstName": "a", "age": "4711"}"#, "age", "must be u8"),
            (r#"{"firstName": "a", "age": 4711}"#, "age", "must be u8"),
            (
                r#"{"firstName": "a", "tags": [4711]}"#,
                "tags",
                "must be a string",
            ),
        ];
        for (body, field, message) in cases {
            let (_, _, answer) = fails(body);
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["errors"][0]["field"], field, "{answer}");
            assert_eq!(answer["errors"][0]["message"], message, "{answer}");
            assert!(!answer.to_string().contains("4711"), "{answer}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_malformed() {
        let error = parse::<Sample>(b"{\"firstName\": \"\xff\"}").unwrap_err();
        assert_eq!(error.code(), "malformed_json");
    }

    #[test]
    fn deep_nesting_is_refused_without_a_crash() {
        let deep = format!("{{\"firstName\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(fails(&deep).0, 400);
    }
}
