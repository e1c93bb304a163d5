//! Calls by gRPC-Web: translated to gRPC on their way up, and back. See [`codecs::grpc::web`].

use codecs::base64;
use codecs::grpc::web::{self, Form};
use codecs::grpc::{self, Frames};
use codecs::http::h1::Trailers;
use codecs::http::{BodyLength, FieldId, RequestHead};
use runtime::Slice;

use super::body;
use super::client::Client;
use super::exchange::Exchange;
use super::grpc::Grpc;
use crate::fault::Fault;

/// How the client of a call speaks gRPC-Web.
pub(super) struct Web {
    /// Of the request's body.
    request: Form,
    /// Of the response's.
    response: Form,
    /// What follows the content type's name: `+proto`, say, or nothing.
    suffix: Vec<u8>,
    reply_content_type: Vec<u8>,
    /// The content type of the response, if that is the answer to a call and so is translated.
    content_type_down: Option<Vec<u8>>,
    decoder: base64::Decoder,
    frames: Frames,
}

impl Web {
    /// `None` if the content type is another.
    pub(super) fn of(value: &[u8], head: &RequestHead, input: &[u8]) -> Option<Web> {
        let (request, suffix) = web::form_of(value)?;
        let accepts = |form: Form| {
            let values = head.fields.iter().filter(|field| field.id == FieldId::Accept);
            let mut entries = values.flat_map(|field| field.value.of(input).split(|byte| *byte == b','));
            entries.any(|entry| form.suffix_of(entry.trim_ascii()).is_some())
        };
        let response = match accepts(Form::Text) || (request == Form::Text && !accepts(Form::Binary)) {
            true => Form::Text,
            false => Form::Binary,
        };
        let reply_content_type = [response.content_type(), b"+proto"].concat();
        Some(Web {
            request,
            response,
            suffix: suffix.to_vec(),
            reply_content_type,
            content_type_down: None,
            decoder: base64::Decoder::default(),
            frames: Frames::default(),
        })
    }

    /// The content type that the endpoint gets.
    pub(super) fn upstream_content_type(&self) -> Vec<u8> {
        [grpc::CONTENT_TYPE, &self.suffix].concat()
    }

    /// The content type of a response whose own is gRPC's.
    fn content_type(&self, upstream: &[u8]) -> Vec<u8> {
        let kind = self.response.content_type();
        match upstream.get(grpc::CONTENT_TYPE.len()..) {
            Some(suffix) if !suffix.is_empty() => [kind, suffix].concat(),
            _ => self.reply_content_type.clone(),
        }
    }

    pub(super) fn reply_content_type(&self) -> &[u8] {
        &self.reply_content_type
    }

    /// The frame with which the response's body ends, if it is translated.
    pub(super) fn end_of_response(&self, trailers: Option<Trailers<'_>>) -> Option<Vec<u8>> {
        self.content_type_down.is_some().then(|| self.frame(&web::trailer_lines(trailers)))
    }

    /// The frame that ends a translated response that broke off, with these lines; `None` if it broke off within a message.
    pub(super) fn end_of_broken_response(&self, lines: &[u8]) -> Option<Vec<u8>> {
        (self.content_type_down.is_some() && self.frames.is_between()).then(|| self.frame(lines))
    }

    fn frame(&self, lines: &[u8]) -> Vec<u8> {
        let frame = web::trailers_frame(lines);
        if self.response == Form::Text { base64::encode(&frame) } else { frame }
    }
}

impl Grpc {
    /// The content type of a translated response.
    pub(super) fn content_type_down(&self) -> Option<&[u8]> {
        self.web.as_ref()?.content_type_down.as_deref()
    }
}

impl Exchange<'_> {
    /// Makes the request's head what it is without gRPC-Web.
    pub(super) fn translate_request(&mut self) {
        let Some(web) = &self.grpc.web else { return };
        let request = &mut self.scratch.request;
        request.te_trailers = true;
        for field in &mut request.fields {
            let differs =
                field.id == FieldId::ContentType || (field.id == FieldId::ContentLength && web.request == Form::Text);
            field.hop_by_hop |= differs;
        }
        if web.request == Form::Text && !request.body.is_empty() {
            request.body = BodyLength::Chunked;
        }
    }

    /// A piece of the request's body as the endpoint gets it; it may be empty.
    pub(super) fn translate_up(&mut self, piece: Slice) -> Result<Slice, Fault> {
        match &mut self.grpc.web {
            Some(web) if web.request == Form::Text => {
                let decoded = web.decoder.decode(&piece).map_err(|base64::Malformed| Fault::BadGrpcWeb)?;
                Ok(self.downstream.world.core.own(decoded.into_boxed_slice()))
            }
            _ => Ok(piece),
        }
    }

    /// The request's body has ended: a fault if that was in the middle of something.
    pub(super) fn check_end_of_request(&self) -> Result<(), Fault> {
        match &self.grpc.web {
            Some(web) if !web.decoder.is_between() => Err(Fault::BadGrpcWeb),
            _ => Ok(()),
        }
    }

    /// Makes the response's head what gRPC-Web has, if it is the answer to a call.
    pub(super) fn translate_response(&mut self) {
        let Some(web) = &mut self.grpc.web else { return };
        let scratch = &mut *self.scratch;
        let (response, input) = (&mut scratch.response, scratch.response_input.bytes());
        let Some(field) = response.field(FieldId::ContentType) else { return };
        let content_type = field.value.of(input);
        if !grpc::is_content_type(content_type) {
            return;
        }
        web.content_type_down = Some(web.content_type(content_type));
        for field in &mut response.fields {
            let is_length = field.id == FieldId::ContentLength && !response.body.is_empty();
            field.hop_by_hop |= is_length || field.id == FieldId::ContentType;
        }
        // Trailers follow what there is of a body.
        if !response.body.is_empty() {
            response.body = BodyLength::Chunked;
        }
    }

    /// A piece of the response's body as the client gets it.
    pub(super) fn translate_down(&mut self, piece: Slice) -> Slice {
        match &mut self.grpc.web {
            Some(web) if web.content_type_down.is_some() => {
                web.frames.pass(&piece);
                match web.response {
                    Form::Text => self.downstream.world.core.own(base64::encode(&piece).into_boxed_slice()),
                    Form::Binary => piece,
                }
            }
            _ => piece,
        }
    }

    /// Ends a translated response that broke off, with the frame of these lines; false if it can't be ended but by breaking
    /// off.
    pub(super) fn end_web_call(&mut self, lines: &[u8]) -> bool {
        let Some(frame) = self.grpc.web.as_ref().and_then(|web| web.end_of_broken_response(lines)) else {
            return false;
        };
        // Where the connection's end is the response's, it has to look broken.
        if self.stream().is_none() && (self.scratch.response.body != BodyLength::Chunked || self.old_client()) {
            return false;
        }
        let frame = self.downstream.world.core.own(frame.into_boxed_slice());
        self.seen.sent_bytes += self.send_down(frame, true);
        match &self.client {
            Client::Http1 => {
                self.seen.sent_bytes += body::send_end(&self.downstream.socket, None, true, &mut self.scratch.out);
            }
            Client::Http2(stream) => stream.finish(None),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_keep_their_suffix() {
        let web = Web::of(b"application/grpc-web+proto", &RequestHead::default(), b"").expect("gRPC-Web");
        assert_eq!(web.upstream_content_type(), b"application/grpc+proto");
        assert_eq!(web.content_type(b"application/grpc"), b"application/grpc-web+proto");
        let text = Web::of(b"application/grpc-web-text", &RequestHead::default(), b"").expect("gRPC-Web");
        assert_eq!(text.content_type(b"application/grpc+json"), b"application/grpc-web-text+json");
        assert!(Web::of(b"application/grpc", &RequestHead::default(), b"").is_none());
    }
}
