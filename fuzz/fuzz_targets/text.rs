//! Feeds the parser that `KNOTMETER_PARSER` names, one of those in `tests/it/hostile/parsers`, with whatever
//! libFuzzer finds.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/hostile/parsers/mod.rs"]
mod parsers;

thread_local! {
    static PARSER: parsers::Parser = {
        let name = std::env::var("KNOTMETER_PARSER").unwrap_or_default();
        let all = || {
            [
                parsers::words::all,
                parsers::registry::all,
                parsers::scrape::all,
                parsers::git::all,
                parsers::cluster::all,
                parsers::settings::all,
                parsers::hooks::all,
                parsers::answers::all,
                parsers::questions::all,
                parsers::journal::all,
            ]
            .into_iter()
            .flat_map(|all| all())
        };
        let found = all().find(|parser| parser.name == name);
        let names = || all().map(|parser| parser.name).collect::<Vec<_>>().join(" ");
        found.unwrap_or_else(|| panic!("set KNOTMETER_PARSER to one of: {}", names()))
    };
}

fuzz_target!(|input: &[u8]| {
    PARSER.with(|parser| {
        if input.len() <= parser.largest {
            (parser.read)(input);
        }
    });
});
