//! WebAssembly bindings of csfle-core.
