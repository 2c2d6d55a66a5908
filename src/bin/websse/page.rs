//! The live page, within the program itself.

/// The page, whole: it needs nothing from anywhere else.
pub(crate) const PAGE: &str = include_str!("page.html");

/// Its `Content-Security-Policy`: nothing runs but the page's own script, nothing is asked but this
/// server, and no text becomes markup (trusted types), so that what is published can do no harm
/// even where the page has a fault. The hashes are those of its script and its style.
pub(crate) const CSP: &str = "default-src 'none'; \
    script-src 'sha256-KhPyhWVB15ZDaXuIUuSTygmoHY9oo6Hply0HiHPFdto='; \
    style-src 'sha256-ganm568wIV+c0UMCVK87iErFJszGfLbIOvW47C2RFc4='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_has_the_hashes_of_the_script_and_the_style() {
        for (policy, element) in [("script-src", "script"), ("style-src", "style")] {
            let expected = format!("{policy} 'sha256-{}'", base64(&sha256(text_of(element))));
            let found = CSP.split("; ").find(|part| part.starts_with(policy));
            assert_eq!(found, Some(expected.as_str()), "put the right one in its place");
        }
    }

    #[test]
    fn hashes_are_right() {
        let hash = base64(&sha256("abc"));
        assert_eq!(hash, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        // Two blocks: the length does not fit the first one.
        let hash = base64(&sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"));
        assert_eq!(hash, "JI1qYdIGOLjlwCaTDD5gOaM85Flk/yFn9uzt1BnbBsE=");
    }

    /// What is between the tags of an element that is there once.
    fn text_of(element: &str) -> &'static str {
        let parts: Vec<_> = PAGE.split(&format!("<{element}>")).collect();
        assert_eq!(parts.len(), 2, "one {element}");
        parts[1].split_once(&format!("</{element}>")).expect("its end").0
    }

    /// FIPS 180-4, sections 5 and 6.2.
    fn sha256(text: &str) -> [u8; 32] {
        let primes: Vec<f64> = (2_u32..312)
            .filter(|n| (2..*n).all(|divisor| n % divisor != 0))
            .map(f64::from)
            .collect();
        // The first 32 bits behind the point; a double has enough of them.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let fraction = |root: f64| (root.fract() * 4_294_967_296.0) as u32;
        let k: Vec<u32> = primes.iter().map(|prime| fraction(prime.cbrt())).collect();
        let mut hash: Vec<u32> = primes[..8].iter().map(|prime| fraction(prime.sqrt())).collect();
        let mut bytes = text.as_bytes().to_vec();
        let bits = bytes.len() as u64 * 8;
        bytes.push(0x80);
        bytes.resize((bytes.len() + 8).next_multiple_of(64) - 8, 0);
        bytes.extend(bits.to_be_bytes());
        for block in bytes.chunks_exact(64) {
            let mut w: Vec<u32> = block
                .chunks_exact(4)
                .map(|word| word.iter().fold(0, |word, &byte| word << 8 | u32::from(byte)))
                .collect();
            for t in 16..64 {
                let (a, b) = (w[t - 15], w[t - 2]);
                let small_0 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
                let small_1 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
                let sum = w[t - 16].wrapping_add(w[t - 7]).wrapping_add(small_0);
                w.push(sum.wrapping_add(small_1));
            }
            let mut state = hash.clone();
            for t in 0..64 {
                let (a, e) = (state[0], state[4]);
                let big_1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
                let choice = (e & state[5]) ^ (!e & state[6]);
                let one = [big_1, choice, k[t], w[t]].into_iter().fold(state[7], u32::wrapping_add);
                let big_0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
                let majority = (a & state[1]) ^ (a & state[2]) ^ (state[1] & state[2]);
                state.rotate_right(1);
                state[0] = one.wrapping_add(big_0).wrapping_add(majority);
                state[4] = state[4].wrapping_add(one);
            }
            for (word, add) in hash.iter_mut().zip(state) {
                *word = word.wrapping_add(add);
            }
        }
        let bytes: Vec<u8> = hash.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.try_into().expect("eight words")
    }

    /// RFC 4648, section 4.
    fn base64(bytes: &[u8]) -> String {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let bits = (0..3).fold(0, |bits, at| {
                bits << 8 | usize::from(group.get(at).copied().unwrap_or_default())
            });
            for at in 0..4 {
                let digit = char::from(digits[bits >> (18 - 6 * at) & 63]);
                text.push(if at <= group.len() { digit } else { '=' });
            }
        }
        text
    }
}
