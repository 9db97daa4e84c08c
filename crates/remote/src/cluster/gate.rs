//! What stands between the `kube` client and the network: only GET passes, answers end at a limit, and no server imposes a wait
//! that is longer than the configured one.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Layer, Service};

/// Puts a [`Gate`] around a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct GateLayer {
    /// Bytes of an answer at most. Those of an error end at 64 KiB.
    pub(super) limit: u64,
    /// The longest wait that a server's `Retry-After` can impose.
    pub(super) retry_after_max: Duration,
}

/// A service that only reads, and reads only so much.
#[derive(Debug, Clone)]
pub(super) struct Gate<S> {
    inner: S,
    layer: GateLayer,
}

/// Something other than GET was about to be sent.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not sent: clusters are only read")]
pub(super) struct NotRead(Method);

/// An answer is longer than it may be.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} bytes")]
pub(super) struct TooLong {
    pub(super) limit: u64,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, layer: *self }
    }
}

impl<S, Q, B> Service<Request<Q>> for Gate<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<Bounded<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        if request.method() != Method::GET {
            let method = request.method().clone();
            return Box::pin(async { Err(NotRead(method).into()) });
        }
        let layer = self.layer;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await.map_err(Into::into)?;
            if let Some(wait) = response.headers_mut().get_mut(RETRY_AFTER) {
                // A date is not waited for at all, but backed off from.
                let seconds = wait.to_str().ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
                *wait = HeaderValue::from(seconds.min(layer.retry_after_max.as_secs()));
            }
            let is_error = !response.status().is_success();
            let limit = if is_error { layer.limit.min(ERROR_LIMIT) } else { layer.limit };
            Ok(response.map(|inner| Bounded { inner, limit, left: limit, is_cut: is_error }))
        })
    }
}

/// A body that ends at a limit: as if that were all where it `is_cut`, with an error otherwise.
#[derive(Debug)]
pub(super) struct Bounded<B> {
    inner: B,
    limit: u64,
    left: u64,
    is_cut: bool,
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_cut && self.left == 0 {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else { return Poll::Pending };
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.len() as u64 <= self.left => {
                    self.left -= data.len() as u64;
                    Some(Ok(Frame::data(data)))
                }
                Ok(data) if self.is_cut => {
                    let left = usize::try_from(self.left).unwrap_or(data.len());
                    self.left = 0;
                    Some(Ok(Frame::data(data.slice(..left))))
                }
                Ok(_) => Some(Err(TooLong { limit: self.limit }.into())),
                Err(trailers) => Some(Ok(trailers)),
            },
            Some(Err(error)) => Some(Err(error.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What a server announces is no reason to make room for it.
        SizeHint::default()
    }
}

const ERROR_LIMIT: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};
    use std::convert::Infallible;
    use tower::{ServiceExt as _, service_fn};

    async fn answer(method: Method, status: u16, length: usize) -> Result<Response<Vec<u8>>, BoxError> {
        let server = service_fn(move |_: Request<()>| async move {
            let body = Full::new(Bytes::from(vec![b'x'; length]));
            let response = Response::builder().status(status).header(RETRY_AFTER, "31536000");
            Ok::<_, Infallible>(response.body(body).expect("it is a response"))
        });
        let gate = GateLayer { limit: 100_000, retry_after_max: Duration::from_secs(60) }.layer(server);
        let request = Request::builder().method(method).body(()).expect("it is a request");
        let (parts, body) = gate.oneshot(request).await?.into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes().to_vec()))
    }

    #[tokio::test]
    async fn nothing_but_get_passes() {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD] {
            let error = answer(method, 200, 1).await.expect_err("it does not only read");
            assert!(error.is::<NotRead>(), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_ends_at_the_limit_and_that_of_an_error_is_cut() {
        assert_eq!(answer(Method::GET, 200, 100_000).await.expect("it fits").body().len(), 100_000);
        let error = answer(Method::GET, 200, 100_001).await.expect_err("it is too long");
        assert!(error.is::<TooLong>(), "{error}");
        assert_eq!(answer(Method::GET, 500, 100_001).await.expect("it is cut").body().len(), 64 << 10);
    }

    #[tokio::test]
    async fn no_server_makes_us_wait_for_a_year() {
        let response = answer(Method::GET, 429, 0).await.expect("it is an answer");
        assert_eq!(response.headers()[RETRY_AFTER], "60");
    }
}
