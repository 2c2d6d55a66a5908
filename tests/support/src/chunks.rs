//! A body in chunks (RFC 9112, section 7.1), in pieces of any size.

/// No chunk is larger.
const LARGEST: usize = 16 << 20;

/// Where in a chunked body the reader is.
#[derive(Debug, Default)]
pub struct Chunks(Place);

#[derive(Debug)]
enum Place {
    /// In the digits of a size.
    Size(usize),
    /// Behind them, before the line feed.
    Extension(usize),
    /// So much of a chunk is still to come.
    Data(usize),
    /// Before the line feed behind a chunk.
    Behind,
    End,
}

impl Default for Place {
    fn default() -> Self {
        Self::Size(0)
    }
}

impl Chunks {
    /// Whether the last chunk that has begun is complete.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.0, Place::Size(0) | Place::End)
    }

    /// Gives `take` the data in these bytes.
    ///
    /// # Errors
    /// What is wrong with them, or with the data.
    pub fn decode(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        while let [first, rest @ ..] = bytes {
            if let Place::Size(0) = self.0
                && let Some((size, length)) = whole_size(bytes)
            {
                (self.0, bytes) = (Place::Data(size), &bytes[length..]);
                continue;
            }
            self.0 = match self.0 {
                Place::Data(left) => {
                    let (data, rest) = bytes.split_at(left.min(bytes.len()));
                    take(data)?;
                    bytes = rest;
                    self.0 = Place::Data(left - data.len());
                    if left == data.len() {
                        self.0 = Place::Behind;
                    }
                    continue;
                }
                Place::Size(size) | Place::Extension(size) if *first == b'\n' => match size {
                    0 => Place::End,
                    size => Place::Data(size),
                },
                Place::Size(size) => match char::from(*first).to_digit(16) {
                    Some(digit) if size < LARGEST => Place::Size(size * 16 + digit as usize),
                    None if matches!(first, b'\r' | b';' | b' ') => Place::Extension(size),
                    _ => return Err("no size of a chunk".into()),
                },
                Place::Extension(size) => Place::Extension(size),
                Place::Behind if bytes.starts_with(b"\r\n") => {
                    bytes = &bytes[2..];
                    self.0 = Place::Size(0);
                    continue;
                }
                Place::Behind if *first == b'\n' => Place::Size(0),
                Place::Behind if *first == b'\r' => Place::Behind,
                Place::Behind => return Err("no end of a chunk".into()),
                Place::End => return Ok(()),
            };
            bytes = rest;
        }
        Ok(())
    }
}

/// A size that is there whole with its line's end, and the length of that line. The last chunk's
/// size is none.
fn whole_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut size = 0;
    for (index, byte) in bytes.iter().enumerate().take(6) {
        match char::from(*byte).to_digit(16) {
            Some(digit) => size = size * 16 + digit as usize,
            None if size > 0 && bytes[index..].starts_with(b"\r\n") => return Some((size, index + 2)),
            None => return None,
        }
    }
    None
}
