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
        while let Some(data) = self.next(&mut bytes)? {
            take(data)?;
        }
        Ok(())
    }

    /// The next data in these bytes, which are taken off them: a chunk's, or what there is of it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<&'b [u8]>, String> {
        while let [first, rest @ ..] = *bytes {
            if let Place::Data(left) = self.0 {
                let (data, rest) = bytes.split_at(left.min(bytes.len()));
                *bytes = rest;
                self.0 = if data.len() < left {
                    Place::Data(left - data.len())
                } else if let Some(rest) = rest.strip_prefix(b"\r\n") {
                    *bytes = rest;
                    Place::Size(0)
                } else {
                    Place::Behind
                };
                return Ok(Some(data));
            }
            *bytes = rest;
            self.0 = match self.0 {
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
                Place::Behind if *first == b'\n' => Place::Size(0),
                Place::Behind if *first == b'\r' => Place::Behind,
                Place::Behind => return Err("no end of a chunk".into()),
                Place::Data(_) | Place::End => return Ok(None),
            };
        }
        Ok(None)
    }
}
