//! What routes and what is said of them are made with.

use longshore_engine::driver::Class;
use utoipa::ToSchema;
use utoipa::openapi::{Ref, RefOr, Schema};

use super::super::route::{Base, Op, Outcome, Parameter, ParameterKind, Route, SchemaOf};
use crate::api::SettledText;

/// A reference to the schema of `T`, which is added to the list with all that it refers to.
pub(super) fn of<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    let name = T::name();
    if !schemas.iter().any(|(known, _)| *known == name) {
        schemas.push((name.to_string(), T::schema()));
        T::schemas(schemas);
    }
    RefOr::Ref(Ref::from_schema_name(name))
}

pub(super) const fn outcome(
    status: u16,
    about: &'static str,
    bodies: &'static [SchemaOf],
) -> Outcome {
    Outcome { status, about, bodies }
}

pub(super) const fn parameter(
    name: &'static str,
    kind: ParameterKind,
    about: &'static str,
) -> Parameter {
    Parameter { name, kind, about }
}

pub(super) const fn route(
    method: &'static str,
    path: &'static str,
    op: Op,
    about: &'static str,
) -> Route {
    Route {
        method,
        base: Base::Namespace,
        path,
        op,
        class: Class::Settle,
        about,
        parameters: &[],
        bodies: &[],
        body_is_optional: false,
        outcomes: &[],
    }
}

impl Route {
    pub(super) const fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    pub(super) const fn with(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }

    pub(super) const fn takes(self, bodies: &'static [SchemaOf]) -> Self {
        Self { bodies, ..self }
    }

    pub(super) const fn may_take(self, bodies: &'static [SchemaOf]) -> Self {
        Self { body_is_optional: true, ..self.takes(bodies) }
    }

    pub(super) const fn gives(self, outcomes: &'static [Outcome]) -> Self {
        Self { outcomes, ..self }
    }
}

pub(super) const fn at_root(
    method: &'static str,
    path: &'static str,
    op: Op,
    about: &'static str,
) -> Route {
    Route { base: Base::Root, ..route(method, path, op, about) }
}

pub(super) const fn settling(
    path: &'static str,
    op: Op,
    about: &'static str,
    bodies: &'static [SchemaOf],
) -> Route {
    const OUTCOMES: &[Outcome] = &[outcome(
        200,
        "How the run ended: the first answer, where this repeats one.",
        &[of::<SettledText>],
    )];
    Route { bodies, outcomes: OUTCOMES, ..route("POST", path, op, about) }
}
