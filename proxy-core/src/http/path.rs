//! The path that routes see and endpoints get.

use codecs::http::{PathError, Span};

use super::exchange::Exchange;
use crate::fault::Fault;
use crate::stats::HttpStat;

const TEMPORARY_REDIRECT: u16 = 307;

impl Exchange<'_> {
    /// Gives the path its one form, before anybody decides by it. `false`: the client has been sent to it instead.
    #[inline]
    pub(super) fn settle_path(&mut self) -> Result<bool, Fault> {
        let path = self.scratch.request.path_only().of(self.scratch.request_input.bytes());
        if self.http.paths.leave(path) { Ok(true) } else { self.rewrite_path() }
    }

    #[cold]
    fn rewrite_path(&mut self) -> Result<bool, Fault> {
        let scratch = &mut *self.scratch;
        let (head, input) = (&mut scratch.request, &mut scratch.request_input);
        let (path, came) = (head.path_only(), head.path);
        let redirect = self.http.paths.apply(path.of(input.bytes()), &mut scratch.out).map_err(Fault::BadPath)?;
        if scratch.out == path.of(input.bytes()) {
            return Ok(true);
        }
        // Spans of the head go on to hold: what is new stands behind it.
        let query = came.of(input.bytes())[path.len()..].to_vec();
        let start = input.append(&[&scratch.out, &query]);
        let path = Span::new(start..start + scratch.out.len());
        head.path = Span::new(start..start + scratch.out.len() + query.len());
        head.query_start = path.end;
        self.seen.original_path = Some(came);
        if !redirect {
            self.config.serve_stats.inc(HttpStat::DownstreamRqPathNormalized);
            return Ok(true);
        }
        if self.grpc.is_call {
            return Err(Fault::BadPath(PathError::EscapedSlash));
        }
        self.config.serve_stats.inc(HttpStat::DownstreamRqRedirectedWithNormalizedPath);
        self.seen.details = "path_normalization_redirect";
        self.reply_moved(TEMPORARY_REDIRECT);
        Ok(false)
    }
}
