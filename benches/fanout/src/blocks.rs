//! Parts of a file that a run replaces, between two comments that name them (Markdown and SVG).

use anyhow::{Context, Result};

/// A part that [`find`] finds.
pub(crate) fn make(name: &str, content: &str) -> String {
    let [begin, end] = marks(name);
    format!("{begin}{content}{end}")
}

/// What a part contains, if the text has it.
pub(crate) fn find<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let [begin, end] = marks(name);
    let (_, rest) = text.split_once(&begin)?;
    rest.split_once(&end).map(|(content, _)| content)
}

/// The text with another content of a part.
pub(crate) fn replace(text: &str, name: &str, content: &str) -> Result<String> {
    let old = find(text, name).with_context(|| format!("no lines {:?}", marks(name)))?;
    Ok(text.replacen(&make(name, old), &make(name, content), 1))
}

fn marks(name: &str) -> [String; 2] {
    [format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n")]
}
