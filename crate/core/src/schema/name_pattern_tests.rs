//! Which patterns are read, and what they match.

use super::name_pattern::NamePattern;

#[test]
fn patterns_match_anywhere_in_a_name() {
    for (pattern, name, expected) in [
        ("ssn", "my_ssn_1", true),
        ("^ssn$", "ssn", true),
        ("^ssn$", "ssn2", false),
        // PCRE's `$` is also before a newline that ends the name.
        ("^ssn$", "ssn\n", true),
        ("^ssn$", "ssn\n\n", false),
        ("^ssn$", "ssn\nx", false),
        ("^$", "\n", true),
        ("^x", "ax", false),
        ("_(secret|pii)$", "a_pii", true),
        ("_(secret|pii)$", "a_pi", false),
        ("^[a-c]+\\d{2,3}$", "abc12", true),
        ("^[a-c]+\\d{2,3}$", "abc1234", false),
        ("^(ab)*c?$", "ababc", true),
        ("", "anything", true),
        ("a.c", "xabcx", true),
        ("[^a]$", "a", false),
        ("^ü+$", "üü", true),
        ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
    ] {
        let found = NamePattern::parse(pattern).map(|pattern| pattern.matches(name));
        assert_eq!(found, Some(expected), "{pattern} on {name}");
    }
}

#[test]
fn patterns_that_are_not_supported_are_refused() {
    for pattern in [
        "(?=a)",
        "(?!a)",
        "(?i)a",
        "\\1",
        "\\bA",
        "a**",
        "a++",
        "[[:alpha:]]",
        "(",
        ")",
        "[a",
        "a{2,1}",
        "a{999}",
        "\\p{L}",
    ] {
        assert!(NamePattern::parse(pattern).is_none(), "{pattern}");
    }
}
