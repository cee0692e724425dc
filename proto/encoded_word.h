// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace bellhop::proto {

// Text with its encoded words (RFC 2047: `=?charset?B|Q?text?=`) decoded to UTF-8. Exchange decodes them itself; what
// it leaves are those of senders who put them where, or how, the RFC does not permit: in quotes, beside other text,
// with spaces in a Q text. White space between two encoded words goes (section 6.2), and a character that is cut by the
// end of a word is made whole. Charsets: utf-8, us-ascii, iso-8859-1 (read as windows-1252, as browsers do),
// iso-8859-15, windows-1252. A word of another charset, or one that does not decode, stays as it is.
// The result may hold any character, controls included, and ill-formed UTF-8 where the word did: see display_text().
std::string decode_encoded_words(std::string_view text);

}  // namespace bellhop::proto
