//! Mappings whose keys are declared once.
//!
//! A declaration has the sentence of a key, its name, the type of its value, the built-in default, and its form; `restart`
//! where a change needs one. [`keys`] makes of it the type with its fields, the defaults, the reader, what is shown, and
//! the schema.

use std::marker::PhantomData;

use serde_json::{Map, Value, json};

use crate::config::document::Node;
use crate::config::form::Form;
use crate::config::reader::{Context, Fields, mapping};
use crate::config::schema::forms::{For, object};

/// A mapping whose keys are declared.
pub(super) trait Keyed: Sized {
    /// The keys.
    const NAMES: &'static [&'static str];

    /// Returns the keys that cannot be left out.
    fn required() -> Vec<&'static str>;

    /// Reads each value; `None` if one that is required is missing or wrong.
    fn assemble(fields: Fields<'_>, context: &mut Context<'_>) -> Option<Self>;

    /// Reads the values, and checks them together.
    fn read(fields: Fields<'_>, context: &mut Context<'_>) -> Option<Self> {
        Self::assemble(fields, context)
    }

    /// Returns the values in the notation of the file, without secrets.
    fn show(&self) -> Map<String, Value>;

    /// Returns the schemas of the keys.
    fn properties(writer: For) -> Map<String, Value>;

    /// Adds the keys whose changes need a restart; `path` ends with a dot unless it is empty.
    fn at_start(path: &str, found: &mut Vec<String>);
}

/// The form of a mapping with declared keys and no others.
#[derive(Debug)]
pub(super) struct Mapping<T>(PhantomData<T>);

impl<T> Mapping<T> {
    pub(super) const NEW: Self = Self(PhantomData);
}

impl<T: Keyed> Form for Mapping<T> {
    type Value = T;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<T> {
        let fields = mapping(node, T::NAMES, context)?;
        T::read(fields, context)
    }

    fn show(&self, value: &T) -> Value {
        Value::Object(value.show())
    }

    fn schema(&self, writer: For) -> Value {
        let mut schema = object(T::properties(writer));
        let required = T::required();
        if let (Value::Object(schema), false) = (&mut schema, required.is_empty()) {
            schema.insert("required".to_owned(), json!(required));
        }
        schema
    }

    /// The keys have theirs.
    fn documented(&self, _: &T) -> Option<Value> {
        None
    }

    fn at_start(&self, path: &str, found: &mut Vec<String>) {
        T::at_start(&format!("{path}."), found);
    }
}

/// Reads the value of a key, unless it is left out.
pub(super) fn read_key<F: Form>(
    form: &F,
    name: &str,
    fields: Fields<'_>,
    context: &mut Context<'_>,
) -> Option<F::Value> {
    let node = fields.given(name)?;
    let is_given = F::TAKES_NULL || !node.is_null();
    is_given.then(|| form.read(node, context)).flatten()
}

/// Declares a mapping: a `section` if each of its keys has a default, a `record` if some are required. `of` is for a
/// type that is declared elsewhere, whose defaults are `built_in`. `then` names a function that checks the values, and
/// `also` adds fields that are not keys.
macro_rules! keys {
    (
        $(#[$meta:meta])*
        $kind:ident $vis:vis struct $name:ident $(then $then:ident)? {
            $(
                $sentence:literal
                $field:ident $([$key:literal])?: $type:ty $(= $default:expr)? => $form:expr $(, $restart:ident)?;
            )*
        }
        $(also { $( $(#[$more:meta])* $other:ident: $other_type:ty = $value:expr; )* })?
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( #[doc = $sentence] $vis $field: $type, )*
            $($( $(#[$more])* $vis $other: $other_type, )*)?
        }
        $crate::config::keyed::keys! {
            @default $kind $name
            { $( $field: $($default)?; )* }
            { $($( $other: $value, )*)? }
        }
        $crate::config::keyed::keys! {
            @keyed $name [$($then)?]
            { $( $sentence; $field [$($key)?]; [$($default)?]; $form; [$($restart)?]; )* }
            { $($( $other: $value, )*)? }
        }
    };
    (
        $kind:ident of $name:ident {
            $(
                $sentence:literal
                $field:ident $([$key:literal])?: $type:ty $(= $default:expr)? => $form:expr $(, $restart:ident)?;
            )*
        }
        $(also { $( $other:ident = $value:expr; )* })?
    ) => {
        $crate::config::keyed::keys! {
            @default $kind $name
            { $( $field: $($default)?; )* }
            { $($( $other: $value, )*)? }
        }
        $crate::config::keyed::keys! {
            @keyed $name []
            { $( $sentence; $field [$($key)?]; [$($default)?]; $form; [$($restart)?]; )* }
            { $($( $other: $value, )*)? }
        }
    };
    (@default built_in $name:ident { $( $field:ident: $default:expr; )* } { $($also:tt)* }) => {
        impl $name {
            /// Returns the built-in values.
            pub(in crate::config) fn built_in() -> Self {
                Self { $( $field: $default, )* $($also)* }
            }
        }
    };
    (@default section $name:ident { $( $field:ident: $default:expr; )* } { $($also:tt)* }) => {
        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* $($also)* }
            }
        }
    };
    (@default record $name:ident $fields:tt $also:tt) => {};
    (
        @keyed $name:ident [$($then:ident)?]
        { $(
            $sentence:literal; $field:ident [$($key:literal)?]; [$($default:expr)?]; $form:expr;
            [$($restart:ident)?];
        )* }
        { $($also:tt)* }
    ) => {
        impl $crate::config::keyed::Keyed for $name {
            const NAMES: &'static [&'static str] =
                &[$( $crate::config::keyed::keys!(@name $field $($key)?) ),*];

            fn required() -> Vec<&'static str> {
                use $crate::config::keyed::keys;
                let all = [$( (keys!(@name $field $($key)?), keys!(@required $($default)?)) ),*];
                let required = all.into_iter().filter(|(_, is_required)| *is_required);
                required.map(|(name, _)| name).collect()
            }

            fn assemble(
                fields: $crate::config::reader::Fields<'_>,
                context: &mut $crate::config::reader::Context<'_>,
            ) -> Option<Self> {
                use $crate::config::form::Form as _;
                use $crate::config::keyed::{keys, read_key};
                $( if keys!(@required $($default)?) && fields.node(keys!(@name $field $($key)?)).is_none() {
                    let (name, message) = (keys!(@name $field $($key)?), $form.missing());
                    context.report.error_at_field(fields.mark, name, message);
                } )*
                $( let $field = read_key(&$form, keys!(@name $field $($key)?), fields, context); )*
                Some(Self {
                    $( $field: keys!(@or $field $(, $default)?), )*
                    $($also)*
                })
            }

            $(
                fn read(
                    fields: $crate::config::reader::Fields<'_>,
                    context: &mut $crate::config::reader::Context<'_>,
                ) -> Option<Self> {
                    $then(Self::assemble(fields, context), fields, context)
                }
            )?

            fn show(&self) -> serde_json::Map<String, serde_json::Value> {
                use $crate::config::form::Form as _;
                let mut shown = serde_json::Map::new();
                $( $form.put(
                    $crate::config::keyed::keys!(@name $field $($key)?),
                    &self.$field,
                    &mut shown,
                ); )*
                shown
            }

            fn properties(
                writer: $crate::config::schema::forms::For,
            ) -> serde_json::Map<String, serde_json::Value> {
                use $crate::config::form::{Form as _, Key};
                use $crate::config::keyed::keys;
                let mut properties = serde_json::Map::new();
                $( {
                    let form = $form;
                    let key = Key {
                        name: keys!(@name $field $($key)?),
                        sentence: $sentence,
                        restart: keys!(@flag $($restart)?),
                        default: keys!(@documented form $($default)?),
                    };
                    form.declare(key, writer, &mut properties);
                } )*
                properties
            }

            fn at_start(path: &str, found: &mut Vec<String>) {
                use $crate::config::form::Form as _;
                use $crate::config::keyed::keys;
                $( {
                    let path = format!("{path}{}", keys!(@name $field $($key)?));
                    if keys!(@flag $($restart)?) {
                        found.push(path);
                    } else {
                        $form.at_start(&path, found);
                    }
                } )*
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $key:literal) => { $key };
    (@flag) => { false };
    (@flag restart) => { true };
    (@required) => { true };
    (@required $default:expr) => { false };
    (@or $read:ident) => { $read? };
    (@or $read:ident, $default:expr) => { $read.unwrap_or_else(|| $default) };
    (@documented $form:ident) => { None };
    (@documented $form:ident $default:expr) => { Some($form.documented(&$default)) };
}
pub(super) use keys;
