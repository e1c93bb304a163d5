//! Records: the one table of every field, from which the struct, its reader, the JSON Schema and the reference come.
//!
//! `record!` declares a mapping of the file: each field with its documentation, its type and what happens when it isn't
//! there: `required`, `optional` (the type is an `Option`) or a default, written as the file would. `choice!` declares
//! a set of names.

use super::shape::{Shape, Shapes};

/// A mapping of the config file.
pub(crate) struct Record {
    /// Name of the definition in the schema: "route_match".
    pub(crate) name: &'static str,
    /// With article, for messages: "a route".
    pub(crate) title: &'static str,
    pub(crate) title_many: &'static str,
    pub(crate) docs: &'static str,
    pub(crate) fields: &'static [Field],
    pub(crate) one_of: &'static [OneOf],
}

/// Fields of which only one may be given.
pub(crate) struct OneOf {
    pub(crate) names: &'static [&'static str],
    /// One must be given.
    pub(crate) required: bool,
}

pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) docs: &'static str,
    pub(crate) presence: Presence,
    pub(crate) shape: fn(&mut Shapes) -> Shape,
}

#[derive(Clone, Copy)]
pub(crate) enum Presence {
    Required,
    Optional,
    /// As it would be written in the file.
    Default(&'static str),
}

impl Record {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// "one of `a`, `b`, `c`".
    pub(crate) fn field_list(&self) -> String {
        match self.fields {
            [only] => format!("`{}`", only.name),
            _ => format!("one of {}", or_list(&self.fields.iter().map(|field| field.name).collect::<Vec<_>>())),
        }
    }

    /// The fields that must be given, or all if none must.
    pub(crate) fn required_list(&self) -> String {
        let names = |all: bool| -> Vec<&str> {
            let wanted = self.fields.iter().filter(|field| all || matches!(field.presence, Presence::Required));
            wanted.map(|field| field.name).collect()
        };
        let required = names(false);
        if required.is_empty() { format!("any of {}", or_list(&names(true))) } else { and_list(&required) }
    }
}

impl Field {
    pub(crate) fn words(&self) -> String {
        (self.shape)(&mut Shapes::default()).one
    }
}

/// "`a`, `b` or `c`".
pub(crate) fn or_list(names: &[&str]) -> String {
    join_list(names, "or")
}

fn and_list(names: &[&str]) -> String {
    join_list(names, "and")
}

fn join_list(names: &[&str], word: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// What other proxies call our fields, for "did you mean".
pub(crate) fn name_elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "lb_policy" | "load_balancing" | "algorithm" => "balance",
        "upstream" | "backend" | "proxy_pass" | "use_backend" | "default_backend" | "service" => "cluster",
        "upstreams" | "backends" | "services" => "clusters",
        "servers" | "server" | "hosts" | "load_assignment" | "lb_endpoints" | "addresses" | "targets" => "endpoints",
        "frontends" | "entrypoints" | "bind" => "listeners",
        "listen" | "bind_address" | "socket_address" | "addr" | "host_port" => "address",
        "domain" | "domains" | "authority" | "hostname" => "host",
        "path_prefix" => "prefix",
        "path" => "exact",
        "safe_regex" | "path_regex" => "regex",
        "verb" | "verbs" => "methods",
        "circuit_breakers" | "circuit_breaker" => "breaker",
        "direct_response" | "return" => "respond",
        "body_text" | "content" | "text" => "body",
        "xff_num_trusted_hops" => "trusted_hops",
        "http_connection_manager" => "http",
        "tcp_proxy" => "tcp",
        "rewrite" | "regex_rewrite" => "prefix_rewrite",
        "host_rewrite_literal" => "host_rewrite",
        "keepalive_timeout" | "keepalive" => "idle_timeout",
        "max_connections" | "maxconn" => "connections_max",
        "max_pending_requests" => "pending_max",
        "max_requests" => "requests_max",
        "max_retries" => "retries_max",
        "retry_policy" | "retries" => "retry",
        "retry_on" => "on",
        "num_retries" | "tries" => "attempts",
        "max_requests_per_connection" | "keepalive_requests" => "requests_per_connection_max",
        "accept_http_10" => "http10",
        "code" => "status",
        _ => return None,
    })
}

/// `"r#match"` → `"match"`.
pub(crate) const fn plain_name(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

macro_rules! presence {
    (required) => {
        $crate::config::record::Presence::Required
    };
    (optional) => {
        $crate::config::record::Presence::Optional
    };
    ($default:literal) => {
        $crate::config::record::Presence::Default($default)
    };
}

macro_rules! record {
    (
        $(#[doc = $docs:literal])+
        pub struct $type:ident as $name:literal, $title:literal, $title_many:literal;
        $(one_of [$($one:literal),+];)*
        $(at_most_one_of [$($most:literal),+];)*
        $(check $check:path;)?
        {
            $($(#[doc = $field_docs:literal])+ $field:ident: $field_type:ty = $presence:tt,)+
        }
    ) => {
        $(#[doc = $docs])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $type {
            $($(#[doc = $field_docs])+ pub $field: $field_type,)+
        }

        impl $type {
            pub(crate) fn record() -> &'static $crate::config::record::Record {
                use $crate::config::record::{Field, Record};
                static RECORD: Record = Record {
                    name: $name,
                    title: $title,
                    title_many: $title_many,
                    docs: concat!($($docs, "\n"),+),
                    fields: &[$(Field {
                        name: $crate::config::record::plain_name(stringify!($field)),
                        docs: concat!($($field_docs, "\n"),+),
                        presence: $crate::config::record::presence!($presence),
                        shape: <$field_type as $crate::config::reader::Value>::shape,
                    },)+],
                    one_of: &[
                        $($crate::config::record::OneOf { names: &[$($one),+], required: true },)*
                        $($crate::config::record::OneOf { names: &[$($most),+], required: false },)*
                    ],
                };
                &RECORD
            }
        }

        impl $crate::config::reader::Value for $type {
            fn read(
                node: &$crate::config::yaml::Node,
                reader: &mut $crate::config::reader::Reader<'_>,
            ) -> Option<Self> {
                let record = Self::record();
                reader.record(node, record)?;
                let mut fields = record.fields.iter();
                // Every field is read before the first failure counts: all mistakes are reported.
                $(let $field = fields.next().and_then(|field| reader.field::<$field_type>(node, field));)+
                let value = $type { $($field: $field?,)+ };
                $($check(&value, node, reader);)?
                Some(value)
            }

            fn shape(shapes: &mut $crate::config::shape::Shapes) -> $crate::config::shape::Shape {
                shapes.record(Self::record())
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $(if !$crate::config::reader::Value::is_absent(&self.$field) {
                    map.serialize_entry($crate::config::record::plain_name(stringify!($field)), &self.$field)?;
                })+
                map.end()
            }
        }
    };
}

macro_rules! choice {
    (
        $(#[doc = $docs:literal])+
        pub enum $type:ident, $one:literal, $many:literal {
            $($(#[doc = $variant_docs:literal])+ $variant:ident = $name:literal,)+
        }
    ) => {
        $(#[doc = $docs])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[doc = $variant_docs])+ $variant,)+
        }

        impl $type {
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            pub fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }
        }

        impl $crate::config::reader::Value for $type {
            fn read(
                node: &$crate::config::yaml::Node,
                reader: &mut $crate::config::reader::Reader<'_>,
            ) -> Option<Self> {
                match node.text() {
                    $(Some($name) => Some($type::$variant),)+
                    _ => {
                        reader.no_such_choice(node, $one, Self::NAMES);
                        None
                    }
                }
            }

            fn shape(_: &mut $crate::config::shape::Shapes) -> $crate::config::shape::Shape {
                let names = $crate::config::record::or_list(Self::NAMES);
                let docs = [$(($name, concat!($($variant_docs),+))),+]
                    .map(|(name, docs)| format!("{name}: {}", docs.trim()));
                let schema = serde_json::json!({ "enum": Self::NAMES, "$comment": docs.join(" ") });
                $crate::config::shape::Shape::new(names, $many, schema)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}

pub(crate) use {choice, presence, record};
