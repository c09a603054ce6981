//! Tests that run on every runtime.

/// Declares each test once for each runtime. The test is a function that is generic over the runtime.
macro_rules! on_every_runtime {
    ($($test:ident),* $(,)?) => {
        mod tokio {
            $(#[test] fn $test() { super::$test::<super::TokioRuntime>(); })*
        }
        mod smol {
            $(#[test] fn $test() { super::$test::<super::SmolRuntime>(); })*
        }
    };
}
