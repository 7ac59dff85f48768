//! Registering, signing in and out.

use hm_metering::Timestamp;
use salvo::oapi::{ToSchema, endpoint};
use salvo::writing::Json;
use salvo::{Request, Writer};
use serde::{Deserialize, Serialize};

use super::errors::Mistakes;
use super::respond::{Created, NoContent};
use super::views::{AccountView, UserView};
use crate::app::App;
use crate::auth::{Identity, RefreshToken};
use crate::database::in_task;
use crate::domain::audit::Origin;
use crate::domain::sessions::{OpenSession, SessionRules};
use crate::domain::sign_in::{self, Registration};
use crate::domain::{DomainError, Email, Member, names, sessions};
use crate::error::AppError;
use crate::extract::{Caller, Client, JsonBody, OptionalJsonBody, bearer_token};
use crate::secret::Secret;

/// The plan of every new account.
const FIRST_TIER: &str = "free";

/// What somebody registers with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegisterBody {
    email: String,
    /// From 8 to 1,024 bytes.
    #[salvo(schema(value_type = String, format = Password))]
    password: Secret,
    /// At most 100 characters.
    #[serde(default)]
    name: Option<String>,
}

/// What somebody signs in with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LoginBody {
    email: String,
    #[salvo(schema(value_type = String, format = Password))]
    password: Secret,
}

/// A refresh token to be exchanged or ended.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RefreshBody {
    #[salvo(schema(value_type = String, format = Password))]
    refresh_token: Secret,
}

/// Tokens of a session, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedIn {
    user: UserView,
    account: AccountView,
    /// For `Authorization: Bearer …`.
    #[serde(serialize_with = "Secret::hand_over")]
    #[salvo(schema(value_type = String))]
    access_token: Secret,
    /// Good for one call of `/api/v1/auth/refresh`.
    #[serde(serialize_with = "Secret::hand_over")]
    #[salvo(schema(value_type = String))]
    refresh_token: Secret,
    /// Seconds until the access token expires.
    expires_in: u64,
}

/// Opens an account and signs its owner in.
#[endpoint(tags("auth"), operation_id = "register")]
pub async fn register(
    app: App,
    client: Client,
    body: JsonBody<RegisterBody>,
) -> Result<Created<SignedIn>, AppError> {
    let RegisterBody {
        email,
        password,
        name,
    } = body.0;
    let mut mistakes = Mistakes::default();
    let email = mistakes.check("email", Email::parse(&email));
    let password = mistakes.check("password", names::new_password(password));
    let name = mistakes.check("name", name.as_deref().map(names::name).transpose());
    let (Some(email), Some(password), Some(name)) = (email, password, name) else {
        return Err(mistakes.into_error());
    };
    let registration = Registration {
        email,
        password,
        name,
        tier: FIRST_TIER.to_owned(),
    };
    let (origin, at) = origin(&app, client);
    let work = app.clone();
    let (member, session) = in_task(async move {
        sign_in::register(
            work.database(),
            work.passwords(),
            rules(&work),
            registration,
            &origin,
        )
        .await
    })
    .await?;
    signed_in(&app, member, &session, at).map(Created)
}

/// Signs somebody in.
#[endpoint(tags("auth"), operation_id = "login")]
pub async fn login(app: App, client: Client, body: JsonBody<LoginBody>) -> Result<Json<SignedIn>, AppError> {
    let LoginBody { email, password } = body.0;
    // Whatever is no address belongs to nobody, and is answered like an address that belongs to nobody.
    let email = Email::parse(&email).map_or_else(|_| String::new(), |email| email.as_str().to_owned());
    let address = client.network;
    let (origin, at) = origin(&app, client);
    app.attempts().begin(&email, address, at).map_err(|wait| {
        AppError::too_many(
            "too_many_attempts",
            "Too many attempts to sign in. Wait before the next one.",
            wait,
        )
    })?;
    let work = app.clone();
    let tried = email.clone();
    let (member, session) = in_task(async move {
        sign_in::sign_in(
            work.database(),
            work.passwords(),
            rules(&work),
            &tried,
            password,
            &origin,
        )
        .await
    })
    .await?;
    app.attempts().succeeded(&email, address);
    signed_in(&app, member, &session, at).map(Json)
}

/// Exchanges a refresh token for new tokens. Each is good for one exchange; using one again ends the session.
#[endpoint(tags("auth"), operation_id = "refresh")]
pub async fn refresh(
    app: App,
    client: Client,
    body: JsonBody<RefreshBody>,
) -> Result<Json<SignedIn>, AppError> {
    let token = RefreshToken::parse(&body.0.refresh_token).ok_or(DomainError::InvalidRefreshToken)?;
    let (origin, at) = origin(&app, client);
    let work = app.clone();
    let (member, session) = in_task(async move {
        let session = sessions::refresh(work.database().writer(), &token, rules(&work), &origin).await?;
        let member = Member::find(work.database().reader(), session.user_id)
            .await
            .map_err(|error| match error {
                DomainError::SessionOver => DomainError::InvalidRefreshToken,
                other => other,
            })?;
        Ok::<_, DomainError>((member, session))
    })
    .await?;
    signed_in(&app, member, &session, at).map(Json)
}

/// Ends a session: the one of the refresh token in the body, or else the one of the access token.
#[endpoint(tags("auth"), operation_id = "logout")]
pub async fn logout(
    app: App,
    client: Client,
    body: OptionalJsonBody<RefreshBody>,
    req: &mut Request,
) -> Result<NoContent, AppError> {
    let (origin, at) = origin(&app, client);
    let database = app.database().clone();
    if let Some(body) = body.0 {
        // Whoever has the token may end its session; one that is not known has no session to end.
        if let Some(token) = RefreshToken::parse(&body.refresh_token) {
            in_task(async move {
                if let Some(session) = sessions::of_token(database.writer(), &token).await? {
                    sessions::end(database.writer(), session.id, session.user_id, &origin).await?;
                }
                Ok::<_, DomainError>(())
            })
            .await?;
        }
        return Ok(NoContent);
    }
    let token = bearer_token(req.headers())?
        .ok_or_else(|| AppError::unauthorized("missing_token", "Send an access token or a refresh token."))?;
    // The session may be over already: signing out twice is no mistake.
    let identity = app.tokens().verify(token, at).ok_or(DomainError::SessionOver)?;
    in_task(
        async move { sessions::end(database.writer(), identity.session_id, identity.user_id, &origin).await },
    )
    .await?;
    Ok(NoContent)
}

/// Ends all sessions of the person who asks.
#[endpoint(tags("auth"), operation_id = "logoutAll")]
pub async fn logout_all(app: App, client: Client, caller: Caller) -> Result<NoContent, AppError> {
    let (origin, _) = origin(&app, client);
    let database = app.database().clone();
    in_task(async move { sessions::end_all(database.writer(), caller.member.user.id, &origin).await })
        .await?;
    Ok(NoContent)
}

fn rules(app: &App) -> SessionRules {
    SessionRules::from(&app.config().auth)
}

fn origin(app: &App, client: Client) -> (Origin, Timestamp) {
    let at = app.clock().now();
    (
        Origin {
            request_id: client.request_id,
            at,
        },
        at,
    )
}

fn signed_in(app: &App, member: Member, session: &OpenSession, at: Timestamp) -> Result<SignedIn, AppError> {
    let identity = Identity {
        user_id: session.user_id,
        session_id: session.id,
    };
    let access_token = app.tokens().issue(identity, at).map_err(AppError::internal)?;
    Ok(SignedIn {
        user: member.user.into(),
        account: AccountView::new(member.account, at),
        access_token,
        refresh_token: Secret::new(session.refresh_token.expose()),
        expires_in: app.tokens().ttl().as_secs(),
    })
}
