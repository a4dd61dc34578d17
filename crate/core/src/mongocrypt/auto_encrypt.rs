//! Automatic encryption of commands, with an analyser that the host asks.

use alloc::{format, string::String};

use super::{
    Call, MongoCryptContext, State,
    analysis::{
        self, Verdict, WIRE_VERSION_CREATE, WIRE_VERSION_SEVERAL_SCHEMAS, command_with_schemas,
        hello, read_verdict, wire_version,
    },
    commands::{Target, command_name, target_of, unsupported},
    context::check_document,
    key_broker::KeyBroker,
    markings,
    operation::Operation,
    outgoing::Outgoing,
    pipelines,
    schemas::Schemas,
};
use crate::{
    error::{Code, Error, Result},
    raw::{element_type as ty, end_document, find_field, push_element, string_value},
    secret::SecretBytes,
};

struct AutoEncrypt {
    database: String,
    name: String,
    /// It holds the values that are to be encrypted.
    command: SecretBytes,
    schemas: Option<Schemas>,
    /// Whether the command names its database itself.
    is_foreign: bool,
    bypass_query_analysis: bool,
    /// Whether the analyser's version is asked for now.
    asks_version: bool,
    /// COMPAT: an analyser that did not tell is as old as can be.
    version: i32,
    has_verdict: bool,
    marked: Option<SecretBytes>,
}

impl MongoCryptContext {
    /// Encrypts a command that goes to a database.
    ///
    /// Errors: `AUTO_ENCRYPTION_*`, `SCHEMA_INVALID`, `BSON_MALFORMED`. Collections of Queryable Encryption are
    /// `AUTO_ENCRYPTION_QUERYABLE`, here or when their description is fed.
    pub fn encrypt(call: &mut Call<'_>, database: &str, command: &[u8]) -> Result<Self> {
        check_document(command, "unable to convert command buffer to BSON")?;
        let name = command_name(command)?;
        if database.is_empty() || database.contains('\0') {
            return Err(unsupported("invalid db"));
        }
        if database.contains('.') {
            return Err(unsupported("invalid db: must not contain a dot"));
        }
        let target = target_of(&name, command)?;
        let mut operation = AutoEncrypt {
            database: String::from(database),
            command: SecretBytes::copy_from(command),
            schemas: None,
            is_foreign: matches!(target, Target::Namespace(..)),
            bypass_query_analysis: call.library.bypass_query_analysis,
            asks_version: false,
            version: 0,
            has_verdict: false,
            marked: None,
            name,
        };
        let mut broker = KeyBroker::new(call);
        let mut schemas = match target {
            Target::Passed => return Ok(Self::begin(State::Ready, operation, broker)),
            Target::Collection(collection) => Schemas::new(String::from(database), collection),
            Target::Namespace(other, collection) => Schemas::new(other, collection),
        };
        if operation.name == "aggregate" {
            pipelines::add_collections(command, &mut schemas)?;
        }
        operation.schemas = Some(schemas);
        operation.asks_version = operation.wants_version();
        let state = match operation.asks_version {
            true => State::NeedMongoMarkings,
            false => operation.find_schemas(call, &mut broker)?,
        };
        Ok(Self::begin(state, operation, broker))
    }
}

impl AutoEncrypt {
    fn schemas(&mut self) -> Result<&mut Schemas> {
        self.schemas
            .as_mut()
            .ok_or_else(|| Error::new(Code::MachineOutOfOrder, "not applicable to context"))
    }

    fn is_create(&self) -> bool {
        matches!(&self.name[..], "create" | "createIndexes")
    }

    fn wants_version(&self) -> bool {
        let are_several = self.schemas.as_ref().is_some_and(Schemas::are_several);
        !self.bypass_query_analysis && (are_several || self.is_create())
    }

    /// Takes the version into account. Says whether the analyser is too old to be asked about this command at all.
    fn is_too_old(&self) -> Result<bool> {
        let version = self.version;
        if self.is_create() && version < WIRE_VERSION_CREATE {
            return Ok(true);
        }
        let are_several = self.schemas.as_ref().is_some_and(Schemas::are_several);
        if are_several && version < WIRE_VERSION_SEVERAL_SCHEMAS {
            return Err(unsupported(format!(
                "Encrypting '{}' requires multiple schemas. Detected mongocryptd with wire version {version}, but need \
                 {WIRE_VERSION_SEVERAL_SCHEMAS}. Upgrade mongocryptd to 8.1 or newer.",
                self.name
            )));
        }
        Ok(false)
    }

    /// Looks for schemas in every place but the server. Says whether all are known.
    fn known_schemas(&mut self, call: &mut Call<'_>) -> Result<bool> {
        let has_own_schema = matches!(&self.name[..], "create" | "collMod");
        let is_new = self.name == "create";
        let command = self.command.expose();
        let Some(schemas) = &mut self.schemas else {
            return Ok(true);
        };
        if let Some(map) = &call.library.encrypted_fields_map {
            schemas.take_from_encrypted_fields(map)?;
        }
        if has_own_schema {
            schemas.take_from_command(command)?;
        }
        if let Some(map) = &call.library.schema_map {
            schemas.take_from_map(map)?;
        }
        schemas.take_from_cache(&mut call.library.collections, call.now_ms)?;
        if is_new {
            schemas.take_rest_as_empty(None);
        }
        Ok(schemas.are_known())
    }

    fn find_schemas(&mut self, call: &mut Call<'_>, broker: &mut KeyBroker) -> Result<State> {
        if self.known_schemas(call)? {
            return Ok(self.after_schemas(broker));
        }
        if self.is_foreign {
            return Err(unsupported(
                "Fetching remote collection information on separate databases is not supported. Try upgrading driver, or \
                 specify a local schemaMap or encryptedFieldsMap.",
            ));
        }
        Ok(State::NeedMongoCollinfo)
    }

    fn after_schemas(&self, broker: &KeyBroker) -> State {
        match self.bypass_query_analysis {
            true => broker.state_after_requests(),
            false => State::NeedMongoMarkings,
        }
    }
}

impl Operation for AutoEncrypt {
    fn question(&mut self, _call: &mut Call<'_>, state: State) -> Result<SecretBytes> {
        if state == State::NeedMongoCollinfo {
            return self.schemas()?.filter().map(SecretBytes::adopt);
        }
        if self.asks_version {
            return Ok(SecretBytes::adopt(hello()));
        }
        match &self.schemas {
            Some(schemas) => command_with_schemas(&self.name, self.command.expose(), schemas),
            None => Err(Error::new(
                Code::MachineOutOfOrder,
                "not applicable to context",
            )),
        }
    }

    fn answer(
        &mut self,
        call: &mut Call<'_>,
        broker: &mut KeyBroker,
        state: State,
        reply: &[u8],
    ) -> Result<()> {
        if state == State::NeedMongoCollinfo {
            check_document(reply, "BSON malformed")?;
            return self.schemas()?.take_from_collinfo(call, reply);
        }
        check_document(reply, "malformed BSON")?;
        if self.asks_version {
            self.version = wire_version(reply)?;
            return Ok(());
        }
        if let Verdict::Marked(command) = read_verdict(reply)? {
            for reference in markings::keys_of(command.expose())? {
                broker.request(call, reference);
            }
            self.marked = Some(command);
        }
        self.has_verdict = true;
        Ok(())
    }

    fn answered(
        &mut self,
        call: &mut Call<'_>,
        broker: &mut KeyBroker,
        state: State,
    ) -> Result<State> {
        if state == State::NeedMongoCollinfo {
            // What the server does not list is not there, and has no schema.
            self.schemas()?.take_rest_as_empty(Some(call));
            return Ok(self.after_schemas(broker));
        }
        if self.asks_version {
            self.asks_version = false;
            if self.is_too_old()? {
                // It goes out as it is, as far as the schemas that are known allow.
                self.known_schemas(call)?;
                return Ok(State::Ready);
            }
            return self.find_schemas(call, broker);
        }
        // DIFFERS: libmongocrypt sends the command as it is when nobody has looked at it.
        if !self.has_verdict {
            return Err(analysis::invalid(
                "no reply of the query analyser was fed: the command may hold values that must be encrypted",
            ));
        }
        Ok(broker.state_after_requests())
    }

    fn forget(&mut self) {
        self.command = SecretBytes::with_capacity(0);
        self.marked = None;
    }

    /// COMPAT: where no key was asked for, the bytes are those that came in.
    fn finalize(&mut self, call: &mut Call<'_>, broker: &KeyBroker) -> Result<SecretBytes> {
        let command = self.command.expose();
        // The application has analysed such commands itself, or they hold no values.
        let outgoing = match &self.schemas {
            Some(schemas) if !self.bypass_query_analysis => {
                let map = call.library.schema_map.as_deref();
                Some(Outgoing::read(schemas, map, command)?)
            }
            _ => None,
        };
        let marked = match &self.marked {
            Some(marked) if broker.was_asked() => marked.expose(),
            _ => {
                if let Some(outgoing) = outgoing {
                    outgoing.check_unchanged(command)?;
                }
                return Ok(SecretBytes::copy_from(command));
            }
        };
        if let Some(outgoing) = &outgoing {
            outgoing.check_analysis(command, marked)?;
        }
        let markings::Encrypted {
            command: mut encrypted,
            payloads,
        } = markings::encrypt_marked(marked, broker.ring(), call.entropy)?;
        if let Some(outgoing) = &outgoing {
            outgoing.check_encrypted(command, encrypted.expose(), &payloads)?;
        }
        let is_wanted = find_field(self.command.expose(), "$db")?.is_some();
        if is_wanted && find_field(encrypted.expose(), "$db")?.is_none() {
            let database = string_value(&self.database);
            encrypted.reserve(database.len() + 8);
            let out = encrypted.expose_mut();
            out.pop();
            push_element(out, ty::STRING, b"$db", &database);
            end_document(out, 0);
        }
        Ok(encrypted)
    }
}
