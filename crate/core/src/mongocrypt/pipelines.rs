//! Which further collections an aggregation reads.

use alloc::format;

use super::{
    commands::{type_name, unsupported, without_nul},
    schemas::Schemas,
};
use crate::{
    error::Result,
    raw::{Element, MAX_DEPTH, element_type as ty, elements, find_field},
};

/// Adds the collections that `$lookup` and `$unionWith` name, in nested pipelines and `$facet` too.
///
/// COMPAT: `$graphLookup` is not looked at.
///
/// Errors: `AUTO_ENCRYPTION_COMMAND_UNSUPPORTED`.
pub(super) fn add_collections(command: &[u8], schemas: &mut Schemas) -> Result<()> {
    match find_field(command, "pipeline")? {
        // The server says what is wrong with such a command.
        None => Ok(()),
        Some(pipeline) => add_from_pipeline(&pipeline, schemas, "aggregate.pipeline", 1),
    }
}

fn add_from_pipeline(
    pipeline: &Element<'_>,
    schemas: &mut Schemas,
    path: &str,
    depth: usize,
) -> Result<()> {
    if pipeline.bson_type != ty::ARRAY || depth > MAX_DEPTH {
        return Err(unsupported(format!(
            "failed to recurse pipeline at path: {path}"
        )));
    }
    for stage in elements(pipeline.value)? {
        let stage = stage?;
        let at = format!(
            "{path}.{}",
            alloc::string::String::from_utf8_lossy(stage.name)
        );
        let operator = match stage.bson_type {
            ty::DOCUMENT => elements(stage.value)?.next().transpose()?,
            _ => None,
        }
        .ok_or_else(|| unsupported(format!("failed to recurse stage at path: {at}")))?;
        match operator.name {
            b"$lookup" => add_from_join(&operator, schemas, &at, &LOOKUP, depth)?,
            b"$unionWith" => add_from_join(&operator, schemas, &at, &UNION_WITH, depth)?,
            b"$facet" => {
                for pipeline in fields_of(&operator, "$facet", &at)? {
                    let pipeline = pipeline?;
                    let name = alloc::string::String::from_utf8_lossy(pipeline.name);
                    let inner = format!("{at}.$facet.{name}");
                    add_from_pipeline(&pipeline, schemas, &inner, depth + 1)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A stage that reads another collection.
struct Join {
    stage: &'static str,
    /// The field that names the collection.
    field: &'static str,
    /// How a wrong type of it is complained about.
    expected: &'static str,
}

const LOOKUP: Join = Join {
    stage: "$lookup",
    field: "from",
    // COMPAT: the word "got" is missing in the reference.
    expected: "expected string, but",
};
const UNION_WITH: Join = Join {
    stage: "$unionWith",
    field: "coll",
    expected: "expected string, but got",
};

fn add_from_join(
    operator: &Element<'_>,
    schemas: &mut Schemas,
    at: &str,
    join: &Join,
    depth: usize,
) -> Result<()> {
    let Join {
        stage,
        field: name,
        expected,
    } = join;
    for field in fields_of(operator, stage, at)? {
        let field = field?;
        if field.name == name.as_bytes() {
            let collection = field.as_str().ok_or_else(|| {
                let found = type_name(field.bson_type);
                unsupported(format!(
                    "{expected} '{found}' for '{name}' field at path: {at}"
                ))
            })?;
            let what = format!("'{name}' collection name");
            schemas.add(without_nul(collection, &what)?);
        }
        if field.name == b"pipeline" {
            add_from_pipeline(
                &field,
                schemas,
                &format!("{at}.{stage}.pipeline"),
                depth + 1,
            )?;
        }
    }
    Ok(())
}

fn fields_of<'a>(
    operator: &Element<'a>,
    stage: &str,
    at: &str,
) -> Result<crate::raw::Elements<'a>> {
    match operator.bson_type {
        ty::DOCUMENT => elements(operator.value),
        _ => Err(unsupported(format!(
            "failed to recurse {stage} at path: {at}"
        ))),
    }
}
