//! Whether a pipeline that was written in another way still has the same stages in the same order.

use alloc::vec::Vec;

use super::{
    fields::RemainingFields,
    meaning::{is_same_filter, is_same_value},
    positions::operator_of,
    rewritten::check_depth,
    stages::is_known,
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty},
};

/// The stages of a pipeline, by the names that analysers write them with.
#[inline(never)]
fn stages<'a>(pipeline: Option<&Element<'a>>) -> Result<Vec<(&'a [u8], Option<Element<'a>>)>> {
    let mut found = Vec::new();
    let list = pipeline.filter(|list| list.bson_type == ty::ARRAY);
    for stage in list.map_or_else(|| Ok(Vec::new()), |list| all_elements(list.value))? {
        let Some(stage) = operator_of(&stage)? else {
            found.push((&b""[..], None));
            continue;
        };
        let names: &[&[u8]] = match stage.name {
            b"$set" => &[b"$addFields"],
            b"$replaceWith" => &[b"$replaceRoot"],
            b"$unset" => &[b"$project"],
            b"$count" => &[b"$group", b"$project"],
            b"$sortByCount" | b"$bucket" => &[b"$group", b"$sort"],
            name => {
                found.push((name, Some(stage)));
                continue;
            }
        };
        found.extend(names.iter().map(|name| (*name, None)));
    }
    Ok(found)
}

/// Whether two pipelines have the same stages in the same order. A pipeline that is absent is an empty one.
///
/// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`.
pub(super) fn are_same_stages(
    before: Option<&Element<'_>>,
    after: Option<&Element<'_>>,
    depth: usize,
) -> Result<bool> {
    check_depth(depth)?;
    let (before, after) = (stages(before)?, stages(after)?);
    let mut is_same = before.len() == after.len();
    for ((name, before), (other, after)) in before.iter().zip(&after) {
        is_same = is_same && name == other;
        if let (Some(before), Some(after)) = (before, after) {
            is_same = is_same && is_same_stage(before, after, depth)?;
        }
    }
    Ok(is_same)
}

fn is_same_stage(before: &Element<'_>, after: &Element<'_>, depth: usize) -> Result<bool> {
    match before.name {
        b"$match" => return is_same_filter(before, after),
        b"$limit" | b"$skip" | b"$sort" => return is_same_value(before, after),
        _ => {}
    }
    let Some(mut left) = RemainingFields::of(document_of(after))? else {
        return Ok(false);
    };
    let stage = before.name;
    let mut is_same = true;
    for field in all_elements(document_of(before))? {
        let other = left.take(field.name);
        is_same = is_same && is_same_field(stage, &field, other.as_ref(), depth)?;
    }
    for field in left.rest() {
        is_same = is_same && is_same_field(stage, field, None, depth)?;
    }
    Ok(is_same)
}

/// The fields of a stage: none where the stage is a text, such as `{$unionWith: "c"}`.
fn document_of<'a>(stage: &Element<'a>) -> &'a [u8] {
    match stage.bson_type {
        ty::DOCUMENT => stage.value,
        _ => &[5, 0, 0, 0, 0],
    }
}

enum Content {
    Filter,
    Pipeline,
    Other,
}

/// What a field of a stage holds. A stage that is not known may hold a filter or a pipeline under each of the names that
/// the known stages use.
fn content_of(stage: &[u8], field: &[u8]) -> Content {
    match (stage, field) {
        (b"$geoNear", b"query") | (b"$graphLookup", b"restrictSearchWithMatch") => Content::Filter,
        (b"$facet", _)
        | (b"$lookup" | b"$unionWith", b"pipeline")
        | (b"$merge", b"whenMatched") => Content::Pipeline,
        _ if is_known(stage) => Content::Other,
        (_, b"query" | b"restrictSearchWithMatch" | b"filter") => Content::Filter,
        (_, b"pipeline" | b"whenMatched") => Content::Pipeline,
        _ => Content::Other,
    }
}

/// Whether a field of a stage means the same as the field of that name in the other command.
fn is_same_field(
    stage: &[u8],
    field: &Element<'_>,
    other: Option<&Element<'_>>,
    depth: usize,
) -> Result<bool> {
    let content = content_of(stage, field.name);
    let Some(other) = other else {
        return Ok(match content {
            Content::Other => true,
            // Without a filter all documents match, without a pipeline they stay as they are. Other defaults have `$merge`,
            // and a pipeline of `$facet` adds a field to the result.
            _ => !matches!(stage, b"$facet" | b"$merge") && is_empty(field),
        });
    };
    match content {
        Content::Filter => is_same_filter(field, other),
        Content::Pipeline if (field.bson_type, other.bson_type) == (ty::ARRAY, ty::ARRAY) => {
            are_same_stages(Some(field), Some(other), depth + 1)
        }
        // `whenMatched` may be a text.
        Content::Pipeline => is_same_value(field, other),
        Content::Other => Ok(true),
    }
}

fn is_empty(element: &Element<'_>) -> bool {
    matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) && element.value == [5, 0, 0, 0, 0]
}
