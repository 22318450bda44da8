//! Clients and servers of gRPC services. What is the same for every method stands here once;
//! `generated/services.rs` says what differs.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::{GrpcMethod, Service, StdError, http};
use tonic::{Request, Response, Status};

/// Waits until the connection takes a request, which is told what it calls.
pub(crate) async fn prepare<T, R>(
    grpc: &mut Grpc<T>,
    request: &mut Request<R>,
    called: GrpcMethod<'static>,
) -> Result<(), Status>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
{
    let ready = grpc.ready().await.map_err(Into::into);
    ready.map_err(|error| Status::unknown(format!("Service was not ready: {error}")))?;
    request.extensions_mut().insert(called);
    Ok(())
}

/// A method of a server as a service of its own, as it is asked for by what reads requests.
pub(crate) struct Call<F>(pub(crate) F);

impl<F, Q, A, Answer> Service<Request<Q>> for Call<F>
where
    F: FnMut(Request<Q>) -> Answer,
    Answer: Future<Output = Result<Response<A>, Status>>,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Answer {
        self.0(request)
    }
}

/// The answer to a method that there is not.
pub(crate) fn unimplemented() -> Result<http::Response<Body>, Infallible> {
    Ok(Status::new(tonic::Code::Unimplemented, "").into_http())
}

/// A service: its name, those of what is made of it, and of each method its kind, name and types.
/// A method whose answers are a stream names the type of that, too.
macro_rules! service {
    ($(#[$doc:meta])* $service:ident = $name:literal, $clients:ident::$client:ident,
        $servers:ident::$server:ident;
        $($(#[$of:meta])* $kind:ident $path:literal $method:ident($in:ident) -> $out:ident
            $(as $stream:ident)?;)*
    ) => {
        /// Who asks.
        pub mod $clients {
            use tonic::body::Body;
            use tonic::client::{Grpc, GrpcService};
            use tonic::codegen::{Body as HttpBody, Bytes, StdError};

            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $client<T> {
                inner: Grpc<T>,
            }

            impl<T> $client<T>
            where
                T: GrpcService<Body>,
                T::Error: Into<StdError>,
                T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
                <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
            {
                /// Asks over this connection.
                pub fn new(inner: T) -> Self {
                    Self { inner: Grpc::new(inner) }
                }

                /// The longest answer that is read; 4 MiB without this.
                #[must_use]
                pub fn max_decoding_message_size(self, limit: usize) -> Self {
                    Self { inner: self.inner.max_decoding_message_size(limit) }
                }

                $($crate::service::service!(@ask $kind $name, $path, $method($in) -> $out,
                    $(#[$of])*);)*
            }
        }

        /// Who answers.
        pub mod $servers {
            use std::convert::Infallible;
            use std::sync::Arc;
            use std::task::{Context, Poll};

            use tonic::body::Body;
            use tonic::codegen::{Body as HttpBody, BoxFuture, Service, StdError, http};
            use tonic::server::{Grpc, NamedService};

            use crate::codec::Codec;
            use crate::service::{Call, unimplemented};

            $(#[$doc])*
            pub trait $service: Send + Sync + 'static {
                $($crate::service::service!(@answer $kind $method($in) -> $out, $(as $stream,)?
                    $(#[$of])*);)*
            }

            /// The service over HTTP/2.
            #[derive(Debug)]
            pub struct $server<T> {
                inner: Arc<T>,
                bytes_max: Option<usize>,
            }

            impl<T> $server<T> {
                /// Answers with this.
                pub fn new(inner: T) -> Self {
                    Self { inner: Arc::new(inner), bytes_max: None }
                }

                /// The longest request that is read; 4 MiB without this.
                #[must_use]
                pub fn max_decoding_message_size(self, limit: usize) -> Self {
                    Self { bytes_max: Some(limit), ..self }
                }
            }

            impl<T> Clone for $server<T> {
                fn clone(&self) -> Self {
                    Self { inner: Arc::clone(&self.inner), bytes_max: self.bytes_max }
                }
            }

            impl<T> NamedService for $server<T> {
                const NAME: &'static str = $name;
            }

            impl<T, B> Service<http::Request<B>> for $server<T>
            where
                T: $service,
                B: HttpBody + Send + 'static,
                B::Error: Into<StdError> + Send + 'static,
            {
                type Response = http::Response<Body>;
                type Error = Infallible;
                type Future = BoxFuture<Self::Response, Self::Error>;

                fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                    Poll::Ready(Ok(()))
                }

                fn call(&mut self, request: http::Request<B>) -> Self::Future {
                    let Self { inner, bytes_max } = self.clone();
                    match request.uri().path().strip_prefix(concat!("/", $name, "/")) {
                        $(Some($path) => Box::pin(async move {
                            let method = Call(move |asked| {
                                let inner = Arc::clone(&inner);
                                async move { T::$method(&inner, asked).await }
                            });
                            let mut grpc = Grpc::new(Codec::<super::$out, super::$in>::default())
                                .apply_max_message_size_config(bytes_max, None);
                            Ok(grpc.$kind(method, request).await)
                        }),)*
                        _ => Box::pin(async { unimplemented() }),
                    }
                }
            }
        }
    };
    (@ask unary $name:literal, $path:literal, $method:ident($in:ident) -> $out:ident,
        $(#[$of:meta])*) => {
        $crate::service::service!(@asked unary $name, $path, $method, (IntoRequest<super::$in>)
            into_request,
            super::$out, $(#[$of])*);
    };
    (@ask server_streaming $name:literal, $path:literal, $method:ident($in:ident) -> $out:ident,
        $(#[$of:meta])*) => {
        $crate::service::service!(@asked server_streaming $name, $path, $method,
            (IntoRequest<super::$in>) into_request, tonic::Streaming<super::$out>, $(#[$of])*);
    };
    (@ask streaming $name:literal, $path:literal, $method:ident($in:ident) -> $out:ident,
        $(#[$of:meta])*) => {
        $crate::service::service!(@asked streaming $name, $path, $method,
            (IntoStreamingRequest<Message = super::$in>) into_streaming_request,
            tonic::Streaming<super::$out>, $(#[$of])*);
    };
    (@asked $kind:ident $name:literal, $path:literal, $method:ident, ($($into:tt)*) $made:ident,
        $out:ty, $(#[$of:meta])*) => {
        $(#[$of])*
        pub async fn $method(
            &mut self,
            request: impl tonic::$($into)*,
        ) -> Result<tonic::Response<$out>, tonic::Status> {
            let mut request = request.$made();
            let called = tonic::codegen::GrpcMethod::new($name, $path);
            crate::service::prepare(&mut self.inner, &mut request, called).await?;
            let path = concat!("/", $name, "/", $path);
            let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
            self.inner.$kind(request, path, crate::codec::Codec::default()).await
        }
    };
    (@answer unary $method:ident($in:ident) -> $out:ident, $(#[$of:meta])*) => {
        $crate::service::service!(@answered $method(super::$in) -> super::$out, $(#[$of])*);
    };
    (@answer server_streaming $method:ident($in:ident) -> $out:ident, as $stream:ident,
        $(#[$of:meta])*) => {
        $crate::service::service!(@stream $stream $out);
        $crate::service::service!(@answered $method(super::$in) -> Self::$stream, $(#[$of])*);
    };
    (@answer streaming $method:ident($in:ident) -> $out:ident, as $stream:ident,
        $(#[$of:meta])*) => {
        $crate::service::service!(@stream $stream $out);
        $crate::service::service!(@answered $method(tonic::Streaming<super::$in>) -> Self::$stream,
            $(#[$of])*);
    };
    (@stream $stream:ident $out:ident) => {
        /// The answers of the method that is named so.
        type $stream: tonic::codegen::tokio_stream::Stream<
            Item = Result<super::$out, tonic::Status>,
        > + Send + 'static;
    };
    // As `async_trait` writes it, so that it may be implemented with that.
    (@answered $method:ident($in:ty) -> $out:ty, $(#[$of:meta])*) => {
        $(#[$of])*
        fn $method<'life0, 'async_trait>(
            &'life0 self,
            request: tonic::Request<$in>,
        ) -> std::pin::Pin<
            Box<
                dyn Future<Output = Result<tonic::Response<$out>, tonic::Status>>
                    + Send
                    + 'async_trait,
            >,
        >
        where
            'life0: 'async_trait,
            Self: 'async_trait;
    };
}

pub(crate) use service;
