//! Writes the glue for a compiled `csfle-wasm`, as `wasm-pack build --target web` does.
//!
//! `csfle-bindgen <input.wasm> <output folder> <output name>`. It builds in a fraction of the time of wasm-bindgen's command,
//! which brings a test runner and its server.

use std::{env::args, process::ExitCode};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = args().skip(1).collect();
    let [input, folder, name] = &arguments[..] else {
        eprintln!("usage: csfle-bindgen <input.wasm> <output folder> <output name>");
        return ExitCode::from(2);
    };
    let written = Bindgen::new()
        .input_path(input)
        .out_name(name)
        .typescript(true)
        .omit_default_module_path(true)
        .web(true)
        .and_then(|bindgen| bindgen.generate(folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("csfle-bindgen: {error:?}");
            ExitCode::FAILURE
        }
    }
}
