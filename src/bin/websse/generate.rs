//! What packages of the command have beside it, made of the table of flags: a manual page, and the
//! completion of flags in shells.

use crate::{
    arguments::variable,
    flags::{self, Flag, GROUPS},
    help::{self, push},
};

/// What is printed instead of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Man,
    Bash,
    Fish,
    Zsh,
}

impl Kind {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "man" => Ok(Self::Man),
            "bash" => Ok(Self::Bash),
            "fish" => Ok(Self::Fish),
            "zsh" => Ok(Self::Zsh),
            _ => Err("either man, bash, fish or zsh".to_owned()),
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::Man => man(),
            Self::Bash => bash(),
            Self::Fish => fish(),
            Self::Zsh => zsh(),
        }
    }
}

/// What may follow a flag.
enum Values {
    /// The flag is a switch.
    None,
    Words(Vec<&'static str>),
    Files,
    /// No shell knows them.
    Any,
}

fn values(flag: &Flag) -> Values {
    match flag.value {
        "" => Values::None,
        "PATH" | "FILE" => Values::Files,
        "LEVEL" => Values::Words(vec!["error", "warn", "info", "debug"]),
        words if words.contains('|') => Values::Words(words.split('|').collect()),
        _ => Values::Any,
    }
}

/// A page of section 1, in the macros of man(7).
fn man() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(
        ".TH WEBSSE 1 \"\" \"websse {version}\" \"User Commands\"\n\
         .SH NAME\nwebsse \\- Server-Sent Events for browsers and curl\n\
         .SH SYNOPSIS\n.B websse\n[\\fB\\-\\-listen\\fR \\fIADDRESS\\fR]... \
         [\\fB\\-\\-event\\fR \\fINAME\\fR]... [\\fIFLAG\\fR]...\n.SH OPTIONS\n"
    );
    for (title, flags) in GROUPS {
        if !title.is_empty() {
            push(&mut page, format_args!(".SS {}\n", roff(&capital(title))));
        }
        for flag in *flags {
            let (name, variable) = (roff(flag.name), roff(&variable(flag.name)));
            push(
                &mut page,
                format_args!(".TP\n\\fB\\-\\-{name}\\fR \\fI{}\\fR\n", roff(flag.value)),
            );
            let default = match flag.default {
                "" => String::new(),
                default => format!(" [{default}]"),
            };
            push(&mut page, format_args!("{}\n", roff(&format!("{}{default}", flag.help))));
            if !flags::ALONE.contains(&flag.name) || flag.name == "config" {
                push(&mut page, format_args!(".br\n\\fB{variable}\\fR\n"));
            }
        }
    }
    for (title, text) in help::CHAPTERS.iter().filter(|(_, text)| !text.is_empty()) {
        push(&mut page, format_args!(".SH {}\n.nf\n{}.fi\n", title.to_uppercase(), roff(text)));
    }
    page
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Text in which nothing means something to roff: no escape, and no request.
fn roff(text: &str) -> String {
    let escaped =
        text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('"', "\\(dq");
    let lines = escaped
        .split_inclusive('\n')
        .map(|line| if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() });
    lines.collect()
}

fn bash() -> String {
    let names: Vec<String> = flags::all().map(|flag| format!("--{}", flag.name)).collect();
    let mut cases = String::new();
    for flag in flags::all() {
        let found = match values(flag) {
            Values::None => continue,
            Values::Words(words) => format!("compgen -W '{}' -- \"$word\"", words.join(" ")),
            Values::Files => "compgen -f -- \"$word\"".to_owned(),
            Values::Any => ":".to_owned(),
        };
        push(&mut cases, format_args!("        --{}) {found} ;;\n", flag.name));
    }
    format!(
        "# Completion of websse in bash.\n\
         _websse() {{\n    \
             local word=$2\n    \
             mapfile -t COMPREPLY < <(case $3 in\n\
         {cases}        *) compgen -W '{}' -- \"$word\" ;;\n    \
             esac)\n\
         }}\n\
         complete -o filenames -F _websse websse\n",
        names.join(" ")
    )
}

fn fish() -> String {
    let mut text = "# Completion of websse in fish.\ncomplete -c websse -f\n".to_owned();
    for flag in flags::all() {
        let takes = match values(flag) {
            Values::None => String::new(),
            Values::Words(words) => format!(" -x -a '{}'", words.join(" ")),
            Values::Files => " -r -F".to_owned(),
            Values::Any => " -x".to_owned(),
        };
        let help = flag.help.replace('\\', "\\\\").replace('\'', "\\'");
        push(&mut text, format_args!("complete -c websse -l {}{takes} -d '{help}'\n", flag.name));
    }
    text
}

fn zsh() -> String {
    let mut text = "#compdef websse\n# Completion of websse in zsh.\n_arguments \\\n".to_owned();
    let mut specs = Vec::new();
    for flag in flags::all() {
        let takes = match values(flag) {
            Values::None => String::new(),
            Values::Words(words) => format!(":value:({})", words.join(" ")),
            Values::Files => ":file:_files".to_owned(),
            Values::Any => ":value:".to_owned(),
        };
        // A bracket or a colon would end the description.
        let help: String = flag
            .help
            .chars()
            .flat_map(|c| {
                matches!(c, '[' | ']' | ':' | '\\').then_some('\\').into_iter().chain([c])
            })
            .collect();
        let (again, sign) =
            (if flag.many { "*" } else { "" }, if flag.value.is_empty() { "" } else { "=" });
        let spec = format!("{again}--{}{sign}[{help}]{takes}", flag.name);
        specs.push(format!("    '{}'", spec.replace('\'', "'\\''")));
    }
    text.push_str(&specs.join(" \\\n"));
    text.push('\n');
    text
}
