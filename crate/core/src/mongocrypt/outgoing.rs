//! The last check of a command before it is returned: it is compared with the schemas themselves, whatever the
//! query analyser said.
//!
//! 1. At a path that a schema encrypts stands nothing but ciphertext ([`positions`]).
//! 2. A binary of subtype 6 is a ciphertext that this library made now, or one that the application put there.
//! 3. The analyser's command is the application's, apart from the markings, and each marking holds the value it stands for
//!    ([`alteration`]); what it wrote in its own form means the same ([`meaning`], [`stage_meaning`]).
//!
//! DIFFERS: libmongocrypt trusts its analyser in all three.

mod alteration;
mod assignments;
mod expressions;
mod fields;
mod filters;
mod json_schemas;
mod meaning;
mod positions;
mod renames;
mod rewritten;
mod scope;
mod stage_meaning;
mod stages;
mod updates;

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::schemas::Schemas;
use crate::{
    error::{Code, Error, Result},
    payload::{PayloadKind, is_well_formed},
    raw::{Element, all_elements, element_type as ty, scan},
    schema::encrypted_paths::{EncryptedPaths, ObjectSchema},
};
use positions::Reader;

const SUBTYPE_ENCRYPTED: u8 = 6;

/// What the schemas of a command's collections encrypt.
pub(super) struct Outgoing {
    namespace: String,
    /// The only schema of the collection that the command is about, where it encrypts anything.
    document: Vec<u8>,
    collections: Vec<(String, EncryptedPaths)>,
    /// Schemas of the application for other collections that the command may name, by namespace.
    others: Vec<(String, EncryptedPaths)>,
    encrypts: bool,
}

/// Where a command names collections whose schemas the analyser is not asked about.
const NAMING_OTHERS: &[&[u8]] = &[
    b"$merge",
    b"$out",
    b"$graphLookup",
    b"viewOn",
    // Of an aggregation it is asked, but not where one is explained.
    b"explain",
];

impl Outgoing {
    /// Reads the schemas; the first collection is the one that the command is about. `map`: the schemas of the application.
    ///
    /// Errors: `SCHEMA_INVALID` with `path` and `namespace`.
    pub(super) fn read(schemas: &Schemas, map: Option<&[u8]>, command: &[u8]) -> Result<Self> {
        let mut collections = Vec::with_capacity(schemas.entries.len());
        let empty = [5, 0, 0, 0, 0];
        for entry in &schemas.entries {
            let schema = entry
                .schema
                .as_ref()
                .map_or(&empty[..], |schema| &schema.document);
            let paths = EncryptedPaths::read(schema).map_err(|error| {
                error.with(
                    "namespace",
                    format!("{}.{}", schemas.database, entry.collection),
                )
            })?;
            collections.push((entry.collection.clone(), paths));
        }
        let own = schemas
            .entries
            .first()
            .and_then(|entry| entry.schema.as_ref());
        let mut document = match collections.first() {
            Some((_, paths)) if !paths.is_empty() => {
                own.map_or_else(Vec::new, |schema| schema.document.clone())
            }
            _ => Vec::new(),
        };
        let target = collections.first().map_or("", |(name, _)| name);
        let target = format!("{}.{target}", schemas.database);
        let mut others = Vec::new();
        let names_others = NAMING_OTHERS.iter().any(|name| holds(command, name));
        for entry in all_elements(map.unwrap_or(&empty))? {
            let namespace = String::from_utf8_lossy(entry.name).into_owned();
            let name = namespace.split_once('.').map_or("", |(_, name)| name);
            // `create` and `collMod` may have a schema of their own: that of the application counts, too.
            let is_second =
                namespace == target && own.is_none_or(|schema| schema.document != entry.value);
            let is_other = names_others && namespace != target && holds(command, name.as_bytes());
            if entry.bson_type == ty::DOCUMENT && (is_second || is_other) {
                let paths = EncryptedPaths::read(entry.value)
                    .map_err(|error| error.with("namespace", namespace.clone()))?;
                if is_second {
                    document.clear();
                }
                others.push((namespace, paths));
            }
        }
        let mut all = collections.iter().chain(&others);
        Ok(Self {
            namespace: target,
            document,
            encrypts: all.any(|(_, paths)| !paths.is_empty()),
            collections,
            others,
        })
    }

    /// Checks a command that goes out as it came in.
    ///
    /// Errors: `AUTO_ENCRYPTION_PLAINTEXT_REFUSED`, `AUTO_ENCRYPTION_PAYLOAD_REFUSED`, with `path` and `namespace`.
    pub(super) fn check_unchanged(&self, command: &[u8]) -> Result<()> {
        if !self.encrypts {
            return Ok(());
        }
        self.check_positions(command)?;
        self.check_payloads(command, is_well_formed)
    }

    /// Checks what the analyser made of a command.
    ///
    /// Errors: `AUTO_ENCRYPTION_COMMAND_ALTERED` with `path` and `namespace`.
    pub(super) fn check_analysis(&self, command: &[u8], marked: &[u8]) -> Result<()> {
        alteration::check(self, command, marked)
    }

    /// Checks a command in which the markings were replaced by the payloads `made`.
    ///
    /// Errors: those of [`Self::check_unchanged`].
    pub(super) fn check_encrypted(
        &self,
        command: &[u8],
        encrypted: &[u8],
        made: &[Vec<u8>],
    ) -> Result<()> {
        if self.encrypts {
            self.check_positions(encrypted)?;
        }
        let given = scan(command, |_| true)?;
        let known: BTreeSet<&[u8]> = made
            .iter()
            .map(|payload| &payload[..])
            .chain(given.found.iter().map(|found| found.payload()))
            .collect();
        let has_form = |payload: &[u8]| match self.encrypts {
            true => is_well_formed(payload),
            // Nothing is encrypted there: what the application wrote is not checked.
            false => PayloadKind::of(payload) != PayloadKind::Marking,
        };
        self.check_payloads(encrypted, |payload| {
            has_form(payload) && known.contains(payload)
        })
    }

    fn check_positions(&self, command: &[u8]) -> Result<()> {
        let mut refuse = |path: &str, _: &Element<'_>| Err(self.plaintext(path));
        Reader::new(self, &mut refuse).command(command)
    }

    fn check_payloads(&self, command: &[u8], is_allowed: impl Fn(&[u8]) -> bool) -> Result<()> {
        let scan = scan(command, |payload| !is_allowed(payload))?;
        match scan.found.first() {
            None => Ok(()),
            Some(found) => Err(self.refusal(
                Code::AutoEncryptionPayloadRefused,
                "the command was not sent: it holds a binary of subtype 6 that is no value of CSFLE which the application or \
                 this library put there",
                &scan.path_text(found),
            )),
        }
    }

    #[inline(never)]
    fn plaintext(&self, path: &str) -> Error {
        self.refusal(
            Code::AutoEncryptionPlaintextRefused,
            "the command was not sent: it holds a value in the clear where the schema says that it is encrypted",
            path,
        )
    }

    #[inline(never)]
    fn altered(&self, path: &str) -> Error {
        self.refusal(
            Code::AutoEncryptionCommandAltered,
            "the command was not sent: the query analyser returned another command than it was asked about",
            path,
        )
    }

    /// Names the place, never the value.
    fn refusal(&self, code: Code, message: &str, path: &str) -> Error {
        Error::new(
            code,
            format!("{message} (at `{path}`, in {})", self.namespace),
        )
        .with("path", path.to_string())
        .with("namespace", &self.namespace)
    }

    #[inline(never)]
    fn target(&self) -> Vec<&ObjectSchema> {
        let Some((name, paths)) = self.collections.first() else {
            return Vec::new();
        };
        let mut roots = paths.roots();
        roots.extend(self.other(None, name));
        roots
    }

    /// A collection of the same database.
    #[inline(never)]
    fn collection(&self, name: &[u8]) -> Vec<&ObjectSchema> {
        let mut known = self.collections.iter();
        match known.find(|(known, _)| known.as_bytes() == name) {
            Some((_, paths)) => paths.roots(),
            None => self.other(None, &String::from_utf8_lossy(name)),
        }
    }

    #[inline(never)]
    fn other(&self, database: Option<&str>, name: &str) -> Vec<&ObjectSchema> {
        let namespace = format!("{}.{name}", database.unwrap_or(self.database()));
        let mut others = self.others.iter();
        others
            .find(|(known, _)| *known == namespace)
            .map_or_else(Vec::new, |(_, paths)| paths.roots())
    }

    fn database(&self) -> &str {
        let namespace = &self.namespace;
        namespace.split('.').next().unwrap_or(namespace)
    }

    /// Whether the command is about this collection.
    #[inline(never)]
    fn is_target(&self, database: Option<&str>, name: &str) -> bool {
        self.namespace == format!("{}.{name}", database.unwrap_or(self.database()))
    }

    /// Whether a schema that is known encrypts something in this collection.
    #[inline(never)]
    fn encrypts_collection(&self, database: Option<&str>, name: &str) -> bool {
        let is_here = database.is_none_or(|database| database == self.database());
        !self.other(database, name).is_empty()
            || (is_here && !self.collection(name.as_bytes()).is_empty())
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && bytes.windows(part.len()).any(|window| window == part)
}

/// The payload of a binary of subtype 6.
fn payload_of<'a>(element: &Element<'a>) -> Option<&'a [u8]> {
    element
        .as_binary()
        .filter(|(subtype, _)| *subtype == SUBTYPE_ENCRYPTED)
        .map(|(_, payload)| payload)
}

/// The value in a marking.
fn marked_value<'a>(element: &Element<'a>) -> Option<Element<'a>> {
    let payload = payload_of(element)?;
    if PayloadKind::of(payload) != PayloadKind::Marking {
        return None;
    }
    // Of two fields `v` it is the last one that is encrypted.
    let fields = all_elements(&payload[1..]).ok()?;
    fields.into_iter().rfind(|field| field.name == b"v")
}
