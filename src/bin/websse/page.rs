//! The live page, built into the program.

/// The whole page: it loads nothing from anywhere else.
pub(crate) const PAGE: &str = include_str!("page.html");

/// Its `Content-Security-Policy`. Only the page's own script runs, only this server is contacted,
/// and no text becomes markup (trusted types). So what is published can do no harm even if the page
/// has a bug. The hashes are those of its script and its style.
pub(crate) const CSP: &str = "default-src 'none'; \
    script-src 'sha256-Z9O3g6XSmh8JbHTAmB9G3rVh1YUh1AYPYVYgIn6crAw='; \
    style-src 'sha256-sfmCMePjjB8PHHPOmBKRFukkYw/NZcApwMxCvJN6DXo='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_has_the_hashes_of_the_script_and_the_style() {
        for (policy, element) in [("script-src", "script"), ("style-src", "style")] {
            let hash = BASE64_STANDARD.encode(Sha256::digest(text_of(element)));
            let expected = format!("{policy} 'sha256-{hash}'");
            let found = CSP.split("; ").find(|part| part.starts_with(policy));
            assert_eq!(found, Some(expected.as_str()), "put the right one in its place");
        }
    }

    /// The text between the tags of an element that occurs once.
    fn text_of(element: &str) -> &'static str {
        let parts: Vec<_> = PAGE.split(&format!("<{element}>")).collect();
        assert_eq!(parts.len(), 2, "one {element}");
        parts[1].split_once(&format!("</{element}>")).expect("its end").0
    }
}
