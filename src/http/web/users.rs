//! Basic authentication against bcrypt hashes.
//!
//! bcrypt takes from milliseconds to seconds on purpose. It runs on a thread of its own, one hash at a time, and few requests
//! wait for it. Its results are cached, the wrong ones apart from the right ones, so that guesses do not displace the results
//! of clients. A cache key is a keyed hash of user, hash and password with their lengths: it cannot be computed by a client,
//! and the memory has no password.
//!
//! An unknown user takes as long as one of the configured users.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use ring::{hmac, rand::SystemRandom};
use tokio::sync::{Semaphore, oneshot};

use crate::panics::lock;

/// The maximum number of requests that wait for bcrypt. Further ones are refused.
const MAX_WAITING: usize = 16;
/// The maximum number of cached results, of right and of wrong passwords each.
const MAX_CACHED: usize = 100;
/// The maximum length of the header `Authorization` in bytes.
const MAX_HEADER_LEN: usize = 4096;

type CacheKey = [u8; 32];

/// The result of an authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Verdict {
    Accepted,
    Refused,
    /// Too many requests wait for bcrypt.
    Busy,
}

/// Cached results of one kind. The oldest is removed for a new one.
#[derive(Debug, Default)]
struct Cached {
    keys: HashSet<CacheKey>,
    order: VecDeque<CacheKey>,
}

impl Cached {
    fn add(&mut self, key: CacheKey) {
        if !self.keys.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_CACHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}

/// Verifies passwords. It outlives changes of the users, as hashes are a part of the cache keys.
pub(super) struct Authenticator {
    key: hmac::Key,
    right: Mutex<Cached>,
    wrong: Mutex<Cached>,
    /// Held while bcrypt runs.
    turn: Arc<Semaphore>,
    /// Held while a request waits for its turn, or has it.
    waiting: Semaphore,
}

impl Authenticator {
    pub(super) fn new() -> Result<Authenticator, ring::error::Unspecified> {
        Ok(Authenticator {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
            right: Mutex::default(),
            wrong: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    /// Verifies the value of the header `Authorization`.
    pub(super) async fn verify(
        &self,
        users: &[(String, String)],
        header: Option<&[u8]>,
    ) -> Verdict {
        let Some((user, password)) = header.and_then(credentials) else {
            return Verdict::Refused;
        };
        let known = users.iter().find(|(name, _)| name.as_bytes() == user);
        // The work for an unknown user is that for one of the others, always the same one.
        let substitute = || users.get(self.substitute(&user, users.len()));
        let Some((_, hash)) = known.or_else(substitute) else {
            return Verdict::Refused;
        };
        let key = self.cache_key(&user, hash, &password);
        if let Some(verdict) = self.cached(&key) {
            return verdict;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Verdict::Busy;
        };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return Verdict::Busy;
        };
        // The request before may have had the same password.
        if let Some(verdict) = self.cached(&key) {
            return verdict;
        }
        let (send, result) = oneshot::channel();
        let hash = hash.clone();
        let verify = move || {
            // OK because the receiver is gone only if the connection is.
            let _ = send.send(bcrypt::verify(password, &hash).unwrap_or(false));
            // Kept until bcrypt has ended, even if the connection ends before.
            drop(turn);
        };
        // Signals are blocked, as in the thread that starts it.
        let thread = std::thread::Builder::new().name("multiprom-bcrypt".to_owned()).spawn(verify);
        let (Ok(_), Ok(is_right)) = (thread, result.await) else {
            return Verdict::Busy;
        };
        if is_right && known.is_some() {
            lock(&self.right).add(key);
            return Verdict::Accepted;
        }
        lock(&self.wrong).add(key);
        Verdict::Refused
    }

    fn cached(&self, key: &CacheKey) -> Option<Verdict> {
        if lock(&self.right).keys.contains(key) {
            return Some(Verdict::Accepted);
        }
        lock(&self.wrong).keys.contains(key).then_some(Verdict::Refused)
    }

    fn cache_key(&self, user: &[u8], hash: &str, password: &[u8]) -> CacheKey {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    /// The index of the user whose hash is used for an unknown one.
    fn substitute(&self, user: &[u8], count: usize) -> usize {
        let first = self.cache_key(user, "", b"")[0];
        usize::from(first) % count.max(1)
    }
}

/// User and password of the scheme `Basic`.
///
/// See: RFC 7617, section 2.
fn credentials(header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = std::str::from_utf8(header).ok().filter(|text| text.len() <= MAX_HEADER_LEN)?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = decode_base64(encoded.trim_start_matches(' ').as_bytes())?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

/// Decodes base64 with its padding.
///
/// See: RFC 4648, section 4.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let (digits, _) = text.split_at_checked(text.len() - padding)?;
    if padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in digits {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hashes of `alice123` and `bob123` at the lowest cost.
    fn users() -> Vec<(String, String)> {
        ["alice", "bob"]
            .map(|user| (user.to_owned(), bcrypt::hash(format!("{user}123"), 4).unwrap()))
            .to_vec()
    }

    fn basic(text: &str) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut encoded = "Basic ".to_owned();
        for part in text.as_bytes().chunks(3) {
            let bits = part.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - part.len()));
            for at in 0..4 {
                let digit = (bits >> (18 - 6 * at)) & 63;
                encoded.push(if at <= part.len() { DIGITS[digit as usize].into() } else { '=' });
            }
        }
        encoded
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn only_the_password_of_the_user_is_accepted() {
        let (users, authenticator) = (users(), Authenticator::new().unwrap());
        let verify = |text: &str| run(authenticator.verify(&users, Some(basic(text).as_bytes())));
        // Twice: by bcrypt and by the cache.
        for _ in 0..2 {
            assert_eq!(verify("alice:alice123"), Verdict::Accepted);
            for bad in ["alice:bob123", "alice:", "carol:alice123", "carol:bob123", ":", "alice123"]
            {
                assert_eq!(verify(bad), Verdict::Refused, "{bad}");
            }
        }
        for header in
            [None, Some(&b"Bearer x"[..]), Some(b"Basic"), Some(b"Basic !!!!"), Some(b"\xff")]
        {
            assert_eq!(run(authenticator.verify(&users, header)), Verdict::Refused);
        }
        let lower = basic("bob:bob123").replace("Basic", "bAsIc");
        assert_eq!(run(authenticator.verify(&users, Some(lower.as_bytes()))), Verdict::Accepted);
        assert_eq!(run(authenticator.verify(&[], Some(lower.as_bytes()))), Verdict::Refused);
    }

    #[test]
    fn a_new_hash_of_a_user_takes_effect_at_once() {
        let (mut users, authenticator) = (users(), Authenticator::new().unwrap());
        let header = basic("alice:alice123");
        assert_eq!(run(authenticator.verify(&users, Some(header.as_bytes()))), Verdict::Accepted);
        users[0].1 = bcrypt::hash("other", 4).unwrap();
        assert_eq!(run(authenticator.verify(&users, Some(header.as_bytes()))), Verdict::Refused);
    }

    /// The attack of CVE-2022-46146: parts of the key that run into each other.
    #[test]
    fn parts_of_a_cache_key_do_not_run_into_each_other() {
        let authenticator = Authenticator::new().unwrap();
        let keys = [("a", "bc", "d"), ("ab", "c", "d"), ("a", "b", "cd"), ("", "abcd", "")].map(
            |(user, hash, password)| {
                authenticator.cache_key(user.as_bytes(), hash, password.as_bytes())
            },
        );
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        let other = Authenticator::new().unwrap().cache_key(b"a", "bc", b"d");
        assert_ne!(other, keys[0], "the key of the hash is random");
    }

    #[test]
    fn the_cache_is_bounded_and_wrong_passwords_displace_no_right_one() {
        let (users, authenticator) = (users(), Authenticator::new().unwrap());
        let right = basic("alice:alice123");
        run(authenticator.verify(&users, Some(right.as_bytes())));
        for number in 0..MAX_CACHED + 20 {
            let wrong = basic(&format!("alice:{number}"));
            run(authenticator.verify(&users, Some(wrong.as_bytes())));
        }
        let wrong = lock(&authenticator.wrong);
        assert_eq!((wrong.keys.len(), wrong.order.len()), (MAX_CACHED, MAX_CACHED));
        assert_eq!(lock(&authenticator.right).keys.len(), 1);
    }

    #[test]
    fn an_unknown_user_always_stands_for_the_same_user() {
        let authenticator = Authenticator::new().unwrap();
        let substitutes: HashSet<usize> = (0..100)
            .map(|number: u32| {
                let user = number.to_string();
                let index = authenticator.substitute(user.as_bytes(), 2);
                assert_eq!(authenticator.substitute(user.as_bytes(), 2), index);
                index
            })
            .collect();
        assert_eq!(substitutes.len(), 2);
    }

    #[test]
    fn requests_beyond_the_limit_do_not_wait() {
        let (users, authenticator) = (users(), Authenticator::new().unwrap());
        let all = authenticator.waiting.try_acquire_many(MAX_WAITING as u32).unwrap();
        let header = basic("alice:alice123");
        assert_eq!(run(authenticator.verify(&users, Some(header.as_bytes()))), Verdict::Busy);
        drop(all);
        assert_eq!(run(authenticator.verify(&users, Some(header.as_bytes()))), Verdict::Accepted);
    }

    proptest! {
        #[test]
        fn base64_is_decoded(text: String) {
            let encoded = basic(&text);
            let decoded = decode_base64(encoded.strip_prefix("Basic ").unwrap().as_bytes());
            prop_assert_eq!(decoded, Some(text.into_bytes()));
        }

        #[test]
        fn no_header_makes_the_parser_panic(header: Vec<u8>) {
            credentials(&header);
        }
    }
}
