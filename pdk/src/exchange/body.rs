//! A body on its way: nothing, bytes at hand, or a stream.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use thiserror::Error;

/// A body on its way, of a request or of an answer.
#[derive(Default)]
pub enum Body {
    /// None at all.
    #[default]
    Empty,
    /// All of it is here.
    Bytes(Bytes),
    /// It is read from a connection as it is passed on, or made by who passes it on.
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>),
}

/// Why a body can't be read to its end.
#[derive(Debug, Error)]
pub enum BodyError {
    /// More than is allowed.
    #[error("body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The other side went away or broke the framing.
    #[error("body broke off: {0}")]
    Broken(String),
    /// What fed the stream failed.
    #[error("{0}")]
    Failed(String),
}

impl Body {
    /// Bytes, or empty if there are none.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        if bytes.is_empty() { Body::Empty } else { Body::Bytes(bytes) }
    }

    /// The whole body if it is at hand already.
    pub fn at_hand(&self) -> Option<Bytes> {
        match self {
            Body::Empty => Some(Bytes::new()),
            Body::Bytes(bytes) => Some(bytes.clone()),
            Body::Stream(_) => None,
        }
    }

    /// Reads all of it and keeps it, so that it can still be passed on.
    ///
    /// # Errors
    /// If there are more than `limit` bytes, or the stream breaks off. What was read is lost then:
    /// the request can only be refused.
    pub async fn read(&mut self, limit: u64) -> Result<Bytes, BodyError> {
        if let Some(bytes) = self.at_hand() {
            let size = bytes.len() as u64;
            return if size > limit { Err(BodyError::TooLarge { limit }) } else { Ok(bytes) };
        }
        if self.size_hint().lower() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        let bytes = collect(self, limit).await?;
        *self = Body::from_bytes(bytes.clone());
        Ok(bytes)
    }
}

impl Body {
    /// Reads all of it and keeps it if it is no larger than `limit` bytes; else it stays whole,
    /// to be streamed on, and the answer is none.
    ///
    /// # Errors
    /// If the stream breaks off.
    pub async fn read_within(&mut self, limit: u64) -> Result<Option<Bytes>, BodyError> {
        if let Some(bytes) = self.at_hand() {
            return Ok((bytes.len() as u64 <= limit).then_some(bytes));
        }
        if self.size_hint().lower() > limit {
            return Ok(None);
        }
        let mut read = VecDeque::new();
        let mut size = 0;
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await
        {
            let Ok(data) = frame?.into_data() else { continue };
            size += data.len() as u64;
            read.push_back(data);
            if size > limit {
                let rest = std::mem::take(self);
                *self = Body::Stream(Box::pin(Resumed { read, rest }));
                return Ok(None);
            }
        }
        let bytes = if read.len() == 1 {
            read.pop_front().unwrap_or_default()
        } else {
            Bytes::from(read.iter().flatten().copied().collect::<Vec<u8>>())
        };
        *self = Body::from_bytes(bytes.clone());
        Ok(Some(bytes))
    }
}

/// A body of which the first pieces were read already.
struct Resumed {
    read: VecDeque<Bytes>,
    rest: Body,
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.read.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.iter().map(|data| data.len() as u64).sum::<u64>();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(read + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(read + upper);
        }
        hint
    }
}

/// All data of a stream; a body of one frame is not copied.
async fn collect(body: &mut Body, limit: u64) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let Ok(data) = frame?.into_data() else { continue };
        if (first.len() + rest.len() + data.len()) as u64 > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Body::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Bytes(_) => false,
            Body::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(stream) => stream.size_hint(),
        }
    }
}

/// A piece of an answer's body in the body_filter phase (`ngx.arg` in Kong).
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// The bytes; a handler may put others in their place.
    pub data: Bytes,
    /// Whether it is the last piece.
    pub last: bool,
}
