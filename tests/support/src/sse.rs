//! A parser of event streams that is stricter than a browser's: whatever this server has no reason
//! to send is a failure, even where clients would pass over it.

use super::shown;

/// What a stream carries: a comment line, or the fields up to a blank line. The server's own fields,
/// `retry` and `id` that stand before those of an event, need no blank line, and are a block of their
/// own here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Comment(String),
    Block(Block),
}

/// The fields up to a blank line. With `data` it is an event; without, it only sets the position
/// or the reconnection time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Exactly the bytes that came, the blank line included.
    pub raw: Vec<u8>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub id: Option<String>,
    pub retry: Option<u64>,
}

/// Takes bytes in pieces of any size, gives items.
#[derive(Default)]
pub struct Parser {
    bytes: Vec<u8>,
    /// Where the first line not yet looked at begins.
    line: usize,
    /// A line feed is not before here; saves looking twice through a long line.
    searched: usize,
    started: bool,
    block: Option<Block>,
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What came after the last whole item.
    pub fn rest(&self) -> &[u8] {
        &self.bytes
    }

    /// The next whole item, if it has come. Panics with the offending line on anything that is not
    /// exactly in the form this server promises.
    pub fn item(&mut self) -> Option<Item> {
        loop {
            let Some(length) = self.bytes[self.searched..].iter().position(|&b| b == b'\n') else {
                self.searched = self.bytes.len();
                return None;
            };
            let end = self.searched + length;
            let line = String::from_utf8(self.bytes[self.line..end].to_vec())
                .unwrap_or_else(|error| panic!("not UTF-8: {:?}", shown(error.as_bytes())));
            (self.line, self.searched) = (end + 1, end + 1);
            assert!(!line.contains('\r'), "a carriage return in {line:?}");
            let bom = !std::mem::replace(&mut self.started, true) && line.starts_with('\u{feff}');
            assert!(!bom, "a byte order mark first: {line:?}");
            let blank = line.is_empty();
            if self.block.is_none() && (line.starts_with("retry: ") || line.starts_with("id: ")) {
                let mut block = Block::default();
                block.add(&line);
                if block.retry.is_some()
                    && let Some(id) = self.take_id()
                {
                    block.add(&id);
                }
                block.raw = self.cut();
                return Some(Item::Block(block));
            }
            if let Some(comment) = line.strip_prefix(':') {
                assert!(self.block.is_none(), "a comment within a block: {line:?}");
                let comment = comment.strip_prefix(' ').unwrap_or(comment).to_owned();
                self.cut();
                return Some(Item::Comment(comment));
            } else if !blank {
                self.block.get_or_insert_default().add(&line);
            }
            if blank {
                let raw = self.cut();
                // Some clients hand out an empty event.
                let mut block =
                    self.block.take().expect("a blank line ends the fields of an event");
                block.raw = raw;
                return Some(Item::Block(block));
            }
        }
    }

    /// Takes the next line if it is an id and is here.
    fn take_id(&mut self) -> Option<String> {
        let rest = std::str::from_utf8(&self.bytes[self.line..]).ok()?;
        let (line, _) = rest.split_once('\n').filter(|(line, _)| line.starts_with("id: "))?;
        let line = line.to_owned();
        self.line += line.len() + 1;
        self.searched = self.line;
        Some(line)
    }

    /// Takes the bytes of the item that ends with the last line looked at.
    fn cut(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.line);
        (self.line, self.searched) = (0, 0);
        std::mem::replace(&mut self.bytes, rest)
    }
}

impl Block {
    /// Takes one line. Fields of an event come in the order event, data, retry, id.
    fn add(&mut self, line: &str) {
        let (name, value) =
            line.split_once(':').unwrap_or_else(|| panic!("a line without a colon: {line:?}"));
        // Some clients demand the space, before an empty value too.
        let value =
            value.strip_prefix(' ').unwrap_or_else(|| panic!("no space after the colon: {line:?}"));
        let once = match name {
            "event" => {
                let first = self.data.is_none() && self.id.is_none() && self.retry.is_none();
                self.event.replace(value.to_owned()).is_none() && first
            }
            "data" => {
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.data = Some(value.to_owned()),
                }
                self.id.is_none() && self.retry.is_none()
            }
            "id" => {
                assert!(!value.is_empty(), "an empty id resets the client's position");
                assert!(!value.contains('\0'), "clients ignore an id with NUL: {line:?}");
                self.id.replace(value.to_owned()).is_none()
            }
            "retry" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                assert!(digits, "retry is not digits: {line:?}");
                self.retry.replace(value.parse().unwrap()).is_none() && self.id.is_none()
            }
            _ => panic!("a field nobody sent: {line:?}"),
        };
        assert!(once, "a field twice or out of order: {line:?} after {self:?}");
    }
}
