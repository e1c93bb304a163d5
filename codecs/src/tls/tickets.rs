//! The keys that seal session tickets: a server keeps nothing for a client that may come back, on whichever core.

use super::error::{Cause, TlsError};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use core::fmt;
use std::sync::{PoisonError, RwLock};

/// RFC 8446, section 4.6.1: no ticket lives longer than a week.
const PERIOD_S_MAX: u64 = 7 * 24 * 3600;
const NAME_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// What a key from outside has: its name, then random bytes.
pub const TICKET_KEY_BYTES: usize = 80;

/// Keys for tickets, for all cores and for as long as the process lives, so that a new config still knows the tickets
/// of the old one. They are replaced by [`TicketKeys::rotate`]; a ticket can be used for at least one period and at most
/// two. Or they come from outside, so that several processes know each other's tickets; then whoever brings them replaces
/// them.
///
/// A ticket is bound to what the server demands of clients' certificates: one that was given without, or under another
/// authority or revocation list, leads to a whole handshake.
///
/// The lock is written to when keys rotate and read once or twice in a handshake, which costs thousands of times more.
pub struct TicketKeys {
    period_s: u64,
    /// They are ours to replace.
    own: bool,
    keys: RwLock<Keys>,
}

struct Keys {
    current: Key,
    /// Those that open and don't seal any more.
    previous: Vec<Key>,
    rotated_s: u64,
}

struct Key {
    /// Says which key sealed a ticket. Random, and no secret.
    name: [u8; NAME_BYTES],
    /// With random nonces, so 2^32 tickets a key are safe: more than a million a second for an hour.
    key: LessSafeKey,
}

impl Key {
    fn new() -> Result<Key, TlsError> {
        let failed = |_| TlsError::new(Cause::Internal, "no random numbers");
        let mut given = [0; TICKET_KEY_BYTES];
        rand::fill(&mut given).map_err(failed)?;
        Key::of(&given)
    }

    fn of(given: &[u8; TICKET_KEY_BYTES]) -> Result<Key, TlsError> {
        let failed = |_| TlsError::new(Cause::Internal, "no key for tickets");
        let (name, secret) = given.split_first_chunk().unwrap_or((&[0; NAME_BYTES], &[]));
        // As long as the key has to be, of more random bytes than that.
        let secret = digest::digest(&digest::SHA256, secret);
        let key = UnboundKey::new(&AES_256_GCM, secret.as_ref()).map_err(failed)?;
        Ok(Key { name: *name, key: LessSafeKey::new(key) })
    }
}

impl TicketKeys {
    /// Fresh keys that are replaced every `period_s` seconds (at least 1, at most a week), from `now_s` on (seconds
    /// since 1970).
    ///
    /// # Errors
    /// [`Cause::Internal`] if the system gives no random numbers.
    pub fn new(period_s: u64, now_s: u64) -> Result<TicketKeys, TlsError> {
        let keys = Keys { current: Key::new()?, previous: Vec::new(), rotated_s: now_s };
        Ok(TicketKeys { period_s: period_s.clamp(1, PERIOD_S_MAX), own: true, keys: RwLock::new(keys) })
    }

    /// Keys from outside: 16 bytes of a name and 64 random ones each. `current` seals and opens, `others` open only.
    /// Clients may keep a ticket for `period_s` seconds. Nonces are random, so a key is good for 2^32 tickets, over all who
    /// have it.
    ///
    /// # Errors
    /// [`Cause::Internal`] if they can't be used.
    pub fn from_outside(
        current: &[u8; TICKET_KEY_BYTES],
        others: &[[u8; TICKET_KEY_BYTES]],
        period_s: u64,
    ) -> Result<TicketKeys, TlsError> {
        let previous = others.iter().map(Key::of).collect::<Result<_, _>>()?;
        let keys = Keys { current: Key::of(current)?, previous, rotated_s: 0 };
        Ok(TicketKeys { period_s: period_s.clamp(1, PERIOD_S_MAX), own: false, keys: RwLock::new(keys) })
    }

    /// Replaces the keys if it is time to, and says whether it did. Whoever has the clock calls it, a few times a
    /// period.
    ///
    /// # Errors
    /// [`Cause::Internal`] if the system gives no random numbers; the keys stay.
    pub fn rotate(&self, now_s: u64) -> Result<bool, TlsError> {
        let rotated_s = self.keys.read().unwrap_or_else(PoisonError::into_inner).rotated_s;
        // A clock that was set back doesn't say how old they are: they have had their time.
        let age_s = now_s.checked_sub(rotated_s).unwrap_or(self.period_s);
        if !self.own || age_s < self.period_s {
            return Ok(false);
        }
        let fresh = Key::new()?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let current = core::mem::replace(&mut keys.current, fresh);
        // After a long sleep its tickets are too old as well.
        keys.previous = Vec::from_iter((age_s < 2 * self.period_s).then_some(current));
        keys.rotated_s = now_s;
        Ok(true)
    }

    /// How long a client may keep a ticket.
    pub(super) fn lifetime_s(&self) -> u32 {
        u32::try_from(self.period_s).unwrap_or(u32::MAX)
    }

    /// Seals a session's state: the key's name, the nonce, the ciphertext, the tag.
    pub(super) fn seal(&self, scope: &[u8; 32], plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + plain.len() + TAG_BYTES);
        ticket.extend_from_slice(&keys.current.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let (_, content) = ticket.split_at_mut(NAME_BYTES + NONCE_LEN);
        let tag = keys
            .current
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(scope), content)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// Opens what [`TicketKeys::seal`] made for the same scope with a key that we still have.
    pub(super) fn open(&self, scope: &[u8; 32], ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = core::iter::once(&keys.current).chain(&keys.previous).find(|key| key.name == *name)?;
        let mut plain = sealed.to_vec();
        let length =
            key.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(scope), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("period_s", &self.period_s).finish_non_exhaustive()
    }
}
