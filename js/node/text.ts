/** Text of others (names, ids, namespaces, messages of servers) in what a person reads. */

// Control characters (line ends among them), characters without a picture, those that turn the direction of writing, line and
// paragraph separators, halves of pairs, and blanks that only look like a space.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;

/**
 * A text in which nothing is hidden: whatever would move the cursor, end the line, change the order of what is shown or not be seen at
 * all stands there as its code, such as `\u202e`.
 */
export function visible(text: string): string {
  return text.replace(UNSEEN, (character) => {
    const code = (character.codePointAt(0) as number).toString(16);
    return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\u{${code}}`;
  });
}

/** JSON text with the same characters as escapes of JSON, which a parser reads as they were. Line ends between values stay. */
export function visibleJson(json: string): string {
  return json.replace(UNSEEN, (character) =>
    character === '\n'
      ? character
      : character
          .split('')
          .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
          .join(''),
  );
}
