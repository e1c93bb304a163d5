//! What requests and responses say about whose they are.

use codecs::http::Field;

use crate::ask::Ask;

/// Names the exchange, both ways.
pub(crate) const ID: &str = "x-id";
/// In a response: bytes of the request's body that had arrived.
pub(crate) const GOT: &str = "x-got";

/// A field's value.
pub(crate) fn field<'a>(text: &'a [u8], fields: &[Field], name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|field| field.name.of(text).eq_ignore_ascii_case(name.as_bytes()))?;
    std::str::from_utf8(found.value.of(text)).ok()
}

/// Whether a response is the origin's, and the one that was asked for; false: it is the proxy's own.
///
/// # Errors
/// It is somebody else's, or not what was asked for.
pub(crate) fn check_response(text: &[u8], fields: &[Field], status: u16, ask: &Ask) -> Result<bool, String> {
    let Some(id) = field(text, fields, ID) else { return Ok(false) };
    if id != ask.id.to_string() {
        return Err(format!("the answer to {id} came as the answer to {}", ask.id));
    }
    if status != ask.status {
        return Err(format!("the answer to {id} has status {status}, not {}", ask.status));
    }
    let got: Option<u64> = field(text, fields, GOT).and_then(|got| got.parse().ok());
    if !ask.early && ask.call.is_none() && got != Some(ask.body) {
        return Err(format!("the origin of {id} got {got:?} bytes of {}", ask.body));
    }
    Ok(true)
}
