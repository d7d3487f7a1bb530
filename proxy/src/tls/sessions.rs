//! Sessions that clients resume: by tickets that they keep (RFC 5077), or by what is kept here.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use rustls::server::{ProducesTickets, StoresServerSessions};

/// TLS 1.3 lets no session be resumed for longer than a week.
const LIFETIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// What stands before a ticket's ciphertext: which key it is of, and the nonce.
const NAME_LEN: usize = 8;
/// What a kept session takes beside its own bytes.
const OVERHEAD: usize = 128;

/// Makes tickets and opens them again. Its keys are replaced after each lifetime, so that one that
/// is stolen opens no older connections.
pub(crate) struct Tickets {
    lifetime: Duration,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    current: Option<Key>,
    previous: Option<Key>,
}

struct Key {
    name: [u8; NAME_LEN],
    cipher: LessSafeKey,
    made: Instant,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

impl Tickets {
    /// Tickets that are good for as long as `lifetime`, a week at the most.
    pub(crate) fn new(lifetime: Duration) -> Tickets {
        Tickets { lifetime: lifetime.min(LIFETIME_MAX), keys: Mutex::default() }
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut keys = lock(&self.keys);
        if keys.current.as_ref().is_none_or(|key| key.made.elapsed() >= self.lifetime) {
            keys.replace()?;
        }
        let key = keys.current.as_ref()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut text = now().to_be_bytes().to_vec();
        text.extend_from_slice(session);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        key.cipher.seal_in_place_append_tag(nonce_used, Aad::from(key.name), &mut text).ok()?;
        Some([&key.name[..], &nonce, &text].concat())
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = lock(&self.keys);
        let mut both = keys.current.iter().chain(&keys.previous);
        let key = both.find(|key| key.name == *name)?;
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = key.cipher.open_in_place(nonce, Aad::from(*name), &mut text).ok()?;
        let (made, session) = text.split_first_chunk::<8>()?;
        let age = now().checked_sub(u64::from_be_bytes(*made))?;
        (age < self.lifetime.as_secs()).then(|| session.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher)
    }
}

impl Keys {
    fn replace(&mut self) -> Option<()> {
        self.previous = self.current.take();
        self.current = Some(Key::random()?);
        Some(())
    }
}

impl Key {
    fn random() -> Option<Key> {
        let random = SystemRandom::new();
        let (mut name, mut secret) = ([0; NAME_LEN], [0; 32]);
        random.fill(&mut name).ok()?;
        random.fill(&mut secret).ok()?;
        let cipher = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &secret).ok()?);
        Some(Key { name, cipher, made: Instant::now() })
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Sessions kept for clients that have no ticket, up to a number of bytes; the oldest make room.
pub(crate) struct Kept {
    lifetime: Duration,
    bytes_max: usize,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    by_id: HashMap<Vec<u8>, (Instant, Vec<u8>)>,
    /// In the order in which they came; what was taken since is still here.
    order: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

impl Kept {
    /// Keeps sessions for as long as `lifetime`, in as much as `bytes_max`.
    pub(crate) fn new(lifetime: Duration, bytes_max: usize) -> Kept {
        Kept { lifetime: lifetime.min(LIFETIME_MAX), bytes_max, sessions: Mutex::default() }
    }
}

impl Sessions {
    fn make_room(&mut self, bytes_max: usize, lifetime: Duration) {
        while let Some((since, id)) = self.order.front() {
            if self.bytes <= bytes_max && since.elapsed() < lifetime {
                return;
            }
            self.bytes -= id.len() + OVERHEAD;
            let (since, id) = (*since, id.clone());
            self.order.pop_front();
            if self.by_id.get(&id).is_some_and(|(kept, _)| *kept == since) {
                self.remove(&id);
            }
        }
    }

    fn remove(&mut self, id: &[u8]) -> Option<(Instant, Vec<u8>)> {
        let found = self.by_id.remove(id)?;
        self.bytes -= found.1.len();
        Some(found)
    }
}

impl StoresServerSessions for Kept {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        let mut sessions = lock(&self.sessions);
        let since = Instant::now();
        sessions.remove(&id);
        sessions.bytes += id.len() + OVERHEAD + session.len();
        sessions.order.push_back((since, id.clone()));
        sessions.by_id.insert(id, (since, session));
        sessions.make_room(self.bytes_max, self.lifetime);
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        let sessions = lock(&self.sessions);
        let (since, session) = sessions.by_id.get(id)?;
        (since.elapsed() < self.lifetime).then(|| session.clone())
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let (since, session) = lock(&self.sessions).remove(id)?;
        (since.elapsed() < self.lifetime).then_some(session)
    }

    fn can_cache(&self) -> bool {
        self.bytes_max > 0
    }
}

/// What a panic left half done is a session less, no more.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_good_until_they_are_too_old() {
        let tickets = Tickets::new(Duration::from_secs(1000));
        let ticket = tickets.encrypt(b"session").expect("a ticket");
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(tickets.encrypt(b"session").expect("a ticket"), ticket);
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(tickets.decrypt(&other), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at} bytes");
        }
        assert_eq!(Tickets::new(Duration::from_secs(1000)).decrypt(&ticket), None);
        let ended = Tickets::new(Duration::ZERO);
        let ticket = ended.encrypt(b"session").expect("a ticket");
        assert_eq!(ended.decrypt(&ticket), None);
        assert_eq!(Tickets::new(Duration::from_secs(1 << 40)).lifetime(), 604_800);
    }

    #[test]
    fn a_key_opens_tickets_until_the_next_but_one() {
        let tickets = Tickets::new(Duration::from_secs(1000));
        let ticket = tickets.encrypt(b"session").expect("a ticket");
        for is_known in [true, false] {
            lock(&tickets.keys).replace().expect("a key");
            assert_eq!(tickets.decrypt(&ticket).is_some(), is_known);
        }
    }

    #[test]
    fn the_oldest_sessions_make_room() {
        let kept = Kept::new(Duration::from_secs(1000), 10 * (OVERHEAD + 1 + 100));
        for id in 0..20 {
            kept.put(vec![id], vec![id; 100]);
        }
        assert_eq!(kept.get(&[9]), None);
        assert_eq!(kept.get(&[10]), Some(vec![10; 100]));
        assert_eq!(kept.take(&[19]), Some(vec![19; 100]));
        assert_eq!(kept.take(&[19]), None);
        for _ in 0..1000 {
            kept.put(vec![1], vec![1; 100]);
            kept.take(&[1]);
        }
        assert_eq!(kept.get(&[10]), None);
        let sessions = lock(&kept.sessions);
        assert!(sessions.bytes <= kept.bytes_max && sessions.order.len() <= 18);
    }
}
