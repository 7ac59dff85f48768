//! Lists in pages: `?limit=&cursor=`.

use std::fmt::Debug;

use hm_metering::page::PageRequest;
use salvo::extract::{Extractible, Metadata};
use salvo::oapi::{BasicType, Components, EndpointArgRegister, Object, Operation, Parameter, ParameterIn};
use salvo::{Depot, Request, Writer};

use crate::error::AppError;

const USUAL: usize = 50;
const MOST: usize = 200;
const LONGEST_CURSOR: usize = 512;

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub struct Paging(pub PageRequest);

impl Paging {
    fn of(req: &Request) -> Result<Self, AppError> {
        let limit = match req.queries().get("limit") {
            None => USUAL,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MOST).contains(limit))
                .ok_or_else(|| {
                    AppError::invalid_field("limit", format!("must be a whole number from 1 to {MOST}"))
                })?,
        };
        let cursor = req
            .queries()
            .get("cursor")
            .filter(|cursor| !cursor.is_empty())
            .cloned();
        if cursor
            .as_ref()
            .is_some_and(|cursor| cursor.len() > LONGEST_CURSOR)
        {
            return Err(AppError::invalid_field("cursor", "is not a cursor of this list"));
        }
        Ok(Self(PageRequest { limit, cursor }))
    }
}

impl<'ex> Extractible<'ex> for Paging {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    async fn extract(
        req: &'ex mut Request,
        _depot: &'ex mut Depot,
    ) -> Result<Self, impl Writer + Send + Debug + 'static> {
        Self::of(req)
    }
}

impl EndpointArgRegister for Paging {
    fn register(_components: &mut Components, operation: &mut Operation, _arg: &str) {
        for (name, kind, description) in [
            (
                "limit",
                BasicType::Integer,
                format!("How many items at most: 1 to {MOST}, by default {USUAL}."),
            ),
            (
                "cursor",
                BasicType::String,
                "Where the page before ended: its `nextCursor`.".to_owned(),
            ),
        ] {
            let parameter = Parameter::new(name)
                .location(ParameterIn::Query)
                .description(description)
                .schema(Object::with_type(kind))
                .required(false);
            operation.parameters.insert(parameter);
        }
    }
}
