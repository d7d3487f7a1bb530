//! Types that entities share: references, ordered sets, protocols.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A reference to an entity `E`, written `{"id": "…"}`.
pub struct Foreign<E> {
    /// The id of the entity that is meant.
    pub id: Uuid,
    entity: PhantomData<fn() -> E>,
}

impl<E> Foreign<E> {
    /// A reference to the entity of this id.
    pub fn new(id: Uuid) -> Self {
        Foreign { id, entity: PhantomData }
    }
}

impl<E> Clone for Foreign<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Foreign<E> {}

impl<E> Default for Foreign<E> {
    fn default() -> Self {
        Foreign::new(Uuid::nil())
    }
}

impl<E> PartialEq for Foreign<E> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<E> Eq for Foreign<E> {}

impl<E> Hash for Foreign<E> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl<E> fmt::Debug for Foreign<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foreign({})", self.id)
    }
}

#[derive(Serialize, Deserialize)]
struct Key {
    id: Uuid,
}

impl<'de, E> Deserialize<'de> for Foreign<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Key::deserialize(deserializer).map(|key| Foreign::new(key.id))
    }
}

impl<E> Serialize for Foreign<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Key { id: self.id }.serialize(serializer)
    }
}

/// A list without duplicates that keeps its order, as sets of Kong's schemas do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Set<T>(pub Vec<T>);

impl<T> Default for Set<T> {
    fn default() -> Self {
        Set(Vec::new())
    }
}

impl<T> Deref for Set<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Set(items.into_iter().collect())
    }
}

/// A protocol that a route accepts, a service speaks or a plugin runs on.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// gRPC over clear-text HTTP/2.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
    /// Clear-text HTTP and WebSocket.
    #[default]
    Http,
    /// HTTP and WebSocket over TLS.
    Https,
    /// Plain TCP.
    Tcp,
    /// TCP inside TLS that ends at the gateway.
    Tls,
    /// TLS that is passed on unopened.
    TlsPassthrough,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Every protocol, in the order in which schemas list them.
    pub const ALL: [Protocol; 8] = [
        Protocol::Grpc,
        Protocol::Grpcs,
        Protocol::Http,
        Protocol::Https,
        Protocol::Tcp,
        Protocol::Tls,
        Protocol::TlsPassthrough,
        Protocol::Udp,
    ];

    /// The name used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Grpcs => "grpcs",
            Protocol::Http => "http",
            Protocol::Https => "https",
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
            Protocol::TlsPassthrough => "tls_passthrough",
            Protocol::Udp => "udp",
        }
    }

    /// Whether a client speaks TLS to the gateway.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Grpcs | Protocol::Https | Protocol::Tls | Protocol::TlsPassthrough)
    }

    /// Whether it is handled by the stream proxy rather than the HTTP proxy.
    pub fn is_stream(self) -> bool {
        matches!(self, Protocol::Tcp | Protocol::Tls | Protocol::TlsPassthrough | Protocol::Udp)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads null as the type's default: null and empty mean the same for optional lists and maps.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
