//! Routes: what a request must be like, and what happens with it.

use crate::config::diagnostics::Diagnostic;
use crate::config::reader::Reader;
use crate::config::record::{Presence, choice, record};
use crate::config::source::Spanned;
use crate::config::values::{
    ByteCount, ClusterName, Duration, FieldName, FieldValue, HostHeader, HostPattern, Int, MatchName, Method, Name,
    OneOrMany, Path, Regex, Words,
};
use crate::config::yaml::Node;

record! {
    /// What happens with the requests that match.
    pub struct Route as "route", "a route", "routes";
    one_of ["cluster", "redirect", "respond"];
    check check_route;
    {
        /// Shown in access logs (`%ROUTE_NAME%`).
        name: Option<Name> = optional,
        /// What a request must be like.
        r#match: Spanned<RouteMatch> = required,
        /// Pass the request on to this cluster.
        cluster: Option<Spanned<ClusterName>> = optional,
        /// Answer with a redirect.
        redirect: Option<Redirect> = optional,
        /// Answer directly.
        respond: Option<Respond> = optional,
        /// From the end of the request to the end of the response, all tries together; then 504. `0s` turns it off.
        timeout: Duration = "15s",
        /// Instead of the listener's `stream_idle` timeout. `0s` turns it off.
        idle_timeout: Option<Duration> = optional,
        /// Send a request again that failed. Without it only those are that no endpoint can have acted on.
        retry: Option<Retry> = optional,
        /// Replaces the prefix that matched; with `exact` or `regex`, the whole path. The query stays.
        prefix_rewrite: Option<Path> = optional,
        /// Replaces the `host` header.
        host_rewrite: Option<HostHeader> = optional,
        /// Changes of the request's headers before it is passed on.
        request_headers: HeaderEdits = "{}",
        /// Changes of the response's headers before it is sent to the client.
        response_headers: HeaderEdits = "{}",
    }
}

/// Fields that only mean something when a request is passed on.
fn check_route(route: &Route, node: &Node, reader: &mut Reader<'_>) {
    if route.cluster.is_some() {
        return;
    }
    let action = if route.redirect.is_some() { "redirect" } else { "respond" };
    // The defaults, as a dump writes them out, are no mistake.
    let default = |name: &str| Route::record().field(name).map(|field| field.presence);
    let harmless = |name: &str| match (name, default(name)) {
        ("timeout", Some(Presence::Default(text))) => Duration::parse_text(text).is_ok_and(|ms| ms == route.timeout),
        ("request_headers", _) => route.request_headers.is_empty(),
        _ => false,
    };
    for entry in node.entries().iter().filter(|entry| !harmless(&entry.key)) {
        let forwards = ["timeout", "idle_timeout", "retry", "prefix_rewrite", "host_rewrite", "request_headers"];
        if forwards.contains(&entry.key.as_str()) && (route.redirect.is_some() || route.respond.is_some()) {
            let message = format!("`{}` has no effect in a route with `{action}`", entry.key);
            reader.push(Diagnostic::error(entry.key_span, message).expected("`cluster`, or this line removed"));
        }
    }
}

record! {
    /// Sends a request again that failed, after a short pause, while nothing of a response has been passed on.
    pub struct Retry as "retry", "a retry policy", "retry policies";
    check check_retry;
    {
        /// Failures, and statuses by class.
        on: OneOrMany<RetryCause> = "[]",
        /// Statuses.
        on_statuses: OneOrMany<Int<400, 599>> = "[]",
        /// `grpc-status` of calls, in a head without body and in trailers. The head of a response is held back until
        /// something follows it.
        on_grpc: OneOrMany<RetryCallStatus> = "[]",
        /// Tries beside the first.
        attempts: Int<1, 100> = "1",
        /// From the end of the request to the first of the response that can be passed on, in each try; then the next,
        /// if `on` has `reset`, `gateway_error` or `5xx`, else 504. `0s` is off.
        per_try_timeout: Duration = "0s",
        /// A request with a longer body is sent once only.
        buffer_bytes_max: ByteCount<0, 0x100_0000> = "64KiB",
    }
}

fn check_retry(_: &Retry, node: &Node, reader: &mut Reader<'_>) {
    if ["on", "on_statuses", "on_grpc"].iter().all(|name| node.get(name).is_none()) {
        let error = Diagnostic::error(node.span, "this policy never tries again");
        reader.push(error.expected("something in `on`, `on_statuses` or `on_grpc`"));
    }
}

choice! {
    /// A failure after which a request is sent again.
    pub enum RetryCause, "a cause for a retry", "causes for retries" {
        /// No connection to the endpoint.
        ConnectFailure = "connect_failure",
        /// The endpoint refused the stream: it has done nothing.
        RefusedStream = "refused_stream",
        /// No response, for whatever reason: the connection failed, the response was malformed, or took too long.
        Reset = "reset",
        /// `reset`, or 502, 503 or 504.
        GatewayError = "gateway_error",
        /// `reset`, or any status from 500.
        ServerError = "5xx",
    }
}

choice! {
    /// A status of gRPC after which a call is sent again.
    pub enum RetryCallStatus, "a status of gRPC", "statuses of gRPC" {
        /// 1.
        Cancelled = "cancelled",
        /// 4.
        DeadlineExceeded = "deadline_exceeded",
        /// 8.
        ResourceExhausted = "resource_exhausted",
        /// 13.
        Internal = "internal",
        /// 14.
        Unavailable = "unavailable",
    }
}

record! {
    /// What a request must be like; everything given must hold. `{}` matches every request.
    pub struct RouteMatch as "route_match", "a route match", "route matches";
    at_most_one_of ["prefix", "exact", "regex"];
    {
        /// Hosts, without ports: `api.example.com`, `*.example.com` (any depth below) or `*`. None is any.
        host: OneOrMany<HostPattern> = "[]",
        /// The path starts with this. `/v1` matches `/v10`, too; `/v1/` doesn't.
        prefix: Option<Path> = optional,
        /// The path, without query, is this.
        exact: Option<Path> = optional,
        /// The whole path, without query, matches.
        regex: Option<Regex> = optional,
        /// One of these methods. None is any.
        methods: OneOrMany<Method> = "[]",
        /// Headers that the request must have.
        headers: Vec<HeaderMatch> = "[]",
        /// Query parameters that the request must have.
        query: Vec<QueryMatch> = "[]",
    }
}

record! {
    /// A header that a request must have. With nothing but `name` it must be there.
    pub struct HeaderMatch as "header_match", "a header match", "header matches";
    at_most_one_of ["exact", "prefix", "suffix", "contains", "regex", "present"];
    {
        /// Name of the header; `:authority`, `:method` and `:path` work, too.
        name: MatchName = required,
        /// The value is this. Several headers of the name count as one, joined by commas.
        exact: Option<Words> = optional,
        /// The value starts with this.
        prefix: Option<Words> = optional,
        /// The value ends with this.
        suffix: Option<Words> = optional,
        /// The value contains this.
        contains: Option<Words> = optional,
        /// The whole value matches.
        regex: Option<Regex> = optional,
        /// `true`: the header is there. `false`: it isn't.
        present: Option<bool> = optional,
        /// Match the requests that wouldn't match otherwise.
        invert: bool = "false",
    }
}

record! {
    /// A query parameter that a request must have. With nothing but `name` it must be there.
    pub struct QueryMatch as "query_match", "a query match", "query matches";
    at_most_one_of ["exact", "prefix", "suffix", "contains", "regex", "present"];
    {
        /// Name of the parameter, as it stands in the request (percent-encoded).
        name: Words = required,
        /// The value is this.
        exact: Option<Words> = optional,
        /// The value starts with this.
        prefix: Option<Words> = optional,
        /// The value ends with this.
        suffix: Option<Words> = optional,
        /// The value contains this.
        contains: Option<Words> = optional,
        /// The whole value matches.
        regex: Option<Regex> = optional,
        /// `true`: the parameter is there. `false`: it isn't.
        present: Option<bool> = optional,
        /// Match the requests that wouldn't match otherwise.
        invert: bool = "false",
    }
}

record! {
    /// Answers with a redirect. What isn't given stays as in the request.
    pub struct Redirect as "redirect", "a redirect", "redirects";
    at_most_one_of ["path", "prefix_rewrite"];
    check check_redirect;
    {
        /// 301, 302, 303, 307 or 308.
        status: Int<301, 308> = "301",
        /// The new scheme. The port goes with the old one unless `port` is given.
        scheme: Option<Scheme> = optional,
        /// The new host.
        host: Option<HostHeader> = optional,
        /// The new port.
        port: Option<Int<1, 65_535>> = optional,
        /// The new path.
        path: Option<Path> = optional,
        /// Replaces the prefix that matched; with `exact` or `regex`, the whole path.
        prefix_rewrite: Option<Path> = optional,
        /// Leave the query away.
        strip_query: bool = "false",
    }
}

choice! {
    /// A scheme of HTTP.
    pub enum Scheme, "a scheme", "schemes" {
        /// Plain.
        Http = "http",
        /// Over TLS.
        Https = "https",
    }
}

fn check_redirect(redirect: &Redirect, node: &Node, reader: &mut Reader<'_>) {
    if matches!(redirect.status.0, 304..=306) {
        let span = node.get("status").map_or(node.span, |status| status.span);
        let error = Diagnostic::error(span, format!("status {} is no redirect", redirect.status.0));
        reader.push(error.expected("301, 302, 303, 307 or 308"));
    }
    let changed = ["scheme", "host", "port", "path", "prefix_rewrite"];
    if !node.entries().iter().any(|entry| changed.contains(&entry.key.as_str())) {
        let error = Diagnostic::error(node.span, "this redirect leads back to where it came from");
        reader.push(error.expected(format!("at least one of {}", crate::config::record::or_list(&changed))));
    }
}

record! {
    /// Answers without an upstream.
    pub struct Respond as "respond", "a direct response", "direct responses";
    check check_respond;
    {
        /// The status.
        status: Int<200, 599> = required,
        /// The body, up to 64 KiB.
        body: Words = "",
        /// Value of `content-type`, where there is a body.
        content_type: FieldValue = "text/plain; charset=utf-8",
    }
}

/// Longest body of a direct response: it is held in memory, once for all cores.
pub(crate) const RESPOND_BODY_BYTES_MAX: usize = 64 << 10;

fn check_respond(respond: &Respond, node: &Node, reader: &mut Reader<'_>) {
    let span = node.get("body").map_or(node.span, |body| body.span);
    let length = respond.body.0.len();
    if length > RESPOND_BODY_BYTES_MAX {
        let error = Diagnostic::error(span, format!("the body has {length} bytes"));
        reader.push(error.expected(format!("at most {RESPOND_BODY_BYTES_MAX} bytes")));
    }
    if matches!(respond.status.0, 204 | 205 | 304) && length > 0 {
        let error = Diagnostic::error(span, format!("a response with status {} has no body", respond.status.0));
        reader.push(error.expected("no `body`, or another status"));
    }
}

record! {
    /// Changes of headers, in this order: `remove`, `set`, `add`.
    pub struct HeaderEdits as "header_edits", "header changes", "header changes";
    {
        /// Names of headers to remove.
        remove: OneOrMany<FieldName> = "[]",
        /// Headers to set, replacing what is there: a mapping of names and values.
        set: Fields = "{}",
        /// Headers to add beside what is there: a mapping of names and values.
        add: Fields = "{}",
    }
}

impl HeaderEdits {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.0.is_empty() && self.add.0.is_empty()
    }
}

/// Header names and values, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub Vec<(FieldName, FieldValue)>);

impl crate::config::reader::Value for Fields {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.shape, crate::config::yaml::Shape::Mapping(_)) {
            reader.mismatch(node, "a mapping of header names and values such as `{ x-env: prod }`");
            return None;
        }
        let mut fields = Vec::new();
        for entry in node.entries() {
            let shape = crate::config::yaml::Shape::Scalar(crate::config::yaml::Scalar {
                text: entry.key.clone(),
                plain: false,
            });
            let name = FieldName::read(&Node { span: entry.key_span, shape }, reader);
            let value = OneOrMany::<FieldValue>::read(&entry.value, reader);
            if let Some((name, values)) = name.zip(value) {
                fields.extend(values.0.into_iter().map(|value| (name.clone(), value)));
            }
        }
        Some(Fields(fields))
    }

    fn shape(_: &mut crate::config::shape::Shapes) -> crate::config::shape::Shape {
        let value = serde_json::json!({ "type": ["string", "number", "boolean"] });
        let schema = serde_json::json!({
            "type": "object",
            "additionalProperties": { "anyOf": [value, { "type": "array", "items": value }] },
        });
        crate::config::shape::Shape::new("a mapping of header names and values", "header mappings", schema)
    }
}

impl serde::Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        let mut names: Vec<&FieldName> = Vec::new();
        for (name, _) in &self.0 {
            if !names.contains(&name) {
                let values = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
                map.serialize_entry(name, &values.collect::<Vec<_>>())?;
                names.push(name);
            }
        }
        map.end()
    }
}
