// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bellhop::proto {

// Combining marks that may follow one character; more of them climb over the lines above and below.
inline constexpr size_t kCombiningMarksMax = 4;

// Mail text that can do no harm on a screen, a lock screen first of all:
//  - well-formed UTF-8 (each bad byte becomes U+FFFD);
//  - line breaks and tabs become one space; other control characters (C0, DEL, C1) are dropped;
//  - marks that change the direction of text are dropped (embeddings, overrides, isolates, LRM, RLM, ALM): a name must
//    not be read backwards. Letters of right-to-left scripts stay, and their direction with them;
//  - what cannot be seen is dropped: zero-width space, word joiner, soft hyphen, byte order mark, invisible operators,
//    Hangul fillers, language tags. Joiners (ZWJ, ZWNJ), which emoji and several scripts need, stay where they stand
//    between two characters, once;
//  - at most kCombiningMarksMax combining marks follow one another.
std::string harmless_text(std::string_view text);

// What is shown of a subject, a sender's name or a preview: encoded words (RFC 2047) that Exchange left are decoded,
// then all of it is made harmless. The caller wipes the result.
std::string display_text(std::string_view text);

}  // namespace bellhop::proto
