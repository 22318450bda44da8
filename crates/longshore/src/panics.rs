//! Panics of jobs: caught, and told with message and place, like any other failure.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context as TaskContext, Poll};

use crate::JobError;

thread_local! {
    /// Whether this thread runs a job now.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Where the job that it runs panicked.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// From now on, a panic in a job leaves its place behind. What the process did on a panic before
/// it still does.
pub(crate) fn watch() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if INSIDE.get() {
                let at = panic.location().map(|it| format!("at {it}\n")).unwrap_or_default();
                let place = format!("{at}{}", Backtrace::force_capture());
                PLACE.with(|kept| *kept.borrow_mut() = Some(place));
            }
            before(panic);
        }));
    });
}

/// Calls it; a panic becomes an error.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, JobError> {
    let outer = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    INSIDE.set(outer);
    result.map_err(|panic| {
        let place = PLACE.with(|kept| kept.borrow_mut().take());
        JobError::new("panic", message(&*panic)).with_backtrace(place.unwrap_or_default())
    })
}

/// A future whose panics become errors.
#[derive(Debug)]
pub(crate) struct Guarded<F>(Pin<Box<F>>);

impl<F> Guarded<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<T, F: Future<Output = Result<T, JobError>>> Future for Guarded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        poll_guarded(self.0.as_mut(), cx)
    }
}

/// Polls it; a panic becomes its error, and it is not to be polled again then.
pub(crate) fn poll_guarded<T>(
    future: Pin<&mut impl Future<Output = Result<T, JobError>>>,
    cx: &mut TaskContext<'_>,
) -> Poll<Result<T, JobError>> {
    guarded(|| future.poll(cx)).unwrap_or_else(|panic| Poll::Ready(Err(panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a value that is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_leaves_its_message_and_its_place() {
        watch();
        let future = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(7) % 2 == 0, "seven is {}", "odd");
            Ok(())
        };
        let error = Guarded::new(future).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), ("panic", "seven is odd"));
        assert!(error.backtrace().contains("panics.rs"), "{}", error.backtrace());
    }
}
