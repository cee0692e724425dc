// SPDX-License-Identifier: Apache-2.0
#include "proto/xml.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "proto/ews.h"
#include "proto/xml_pool.h"
#include "tests/proto/ews_fixture.h"
#include "tests/proto/heap_count_fixture.h"

namespace bellhop::proto {
namespace {

// Writes down what it receives: "<{space}name a=v>", "</text>".
class Recorder : public XmlConsumer {
 public:
  Status element_started(XmlName name, const XmlAttributes& attributes) override {
    log += "<" + expanded(name);
    for (uint32_t i = 0; i < attributes.size(); ++i) {
      log += fmt::format(" {}={}", expanded(attributes.at(i).name), attributes.at(i).value);
    }
    log += ">";
    if (name.local == refused_name) return fail(ews_error(EwsError::bad_value));
    return {};
  }
  Status element_ended(std::string_view text) override {
    log += fmt::format("</{}>", text);
    return {};
  }

  static std::string expanded(XmlName name) {
    return name.space.empty() ? std::string(name.local) : fmt::format("{{{}}}{}", name.space, name.local);
  }

  std::string log;
  std::string refused_name;
};

struct Log {
  std::string text;
};
std::string describe(const Log& log) {
  return log.text;
}

// A reader whose result is the log of its recorder.
class RecordingReader {
 public:
  explicit RecordingReader(uint32_t document_bytes_max = kXmlEwsAnswerBytesMax)
      : reader(recorder, document_bytes_max, kTestSalt) {}
  void reset() {
    reader.reset();
    recorder.log.clear();
  }
  Status feed(std::string_view bytes) { return reader.feed(bytes); }
  Result<const Log*> finish() {
    Status status = reader.finish();
    if (!status) return fail(status.error());
    log.text = recorder.log;
    return &log;
  }

  Recorder recorder;
  Log log;
  XmlReader reader;
};

std::string read(std::string_view document) {
  RecordingReader reader;
  return read_whole(reader, document);
}

std::string nested(size_t depth) {
  std::string document;
  for (size_t i = 0; i < depth; ++i) document += "<a>";
  for (size_t i = 0; i < depth; ++i) document += "</a>";
  return document;
}

constexpr std::string_view kMixed =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<p:a xmlns:p='urn:p' xmlns='urn:d' p:x='1' y='&lt;&#233;'>"
    "t<b>&amp;\xc3\xa9<![CDATA[<&]]>\r\n</b><!-- c -->u<c xmlns=''/></p:a>\n";
constexpr std::string_view kMixedLog = "<{urn:p}a {urn:p}x=1 y=<\xc3\xa9><{urn:d}b></&\xc3\xa9<&\n><c></></tu>";

TEST(XmlReader, GivesExpandedNamesAndDecodedText) {
  EXPECT_EQ(read(kMixed), kMixedLog);
}

TEST(XmlReader, GivesTheSameForAnySplit) {
  RecordingReader reader;
  expect_splits_agree(reader, kMixed);
  EXPECT_EQ(read_whole(reader, kMixed), kMixedLog);
}

TEST(XmlReader, NeverAcceptsAPrefix) {
  RecordingReader reader;
  expect_no_prefix_is_accepted(reader, kMixed);
  EXPECT_EQ(read(""), "xml truncated");
  EXPECT_EQ(read("<a>"), "xml truncated");
}

TEST(XmlReader, SurvivesMutatedInput) {
  RecordingReader reader;
  expect_mutations_are_survived(reader, kMixed, 4000);
}

TEST(XmlReader, FindsAnAttributeByNameOutsideOfNamespaces) {
  struct Finder : Recorder {
    Status element_started(XmlName, const XmlAttributes& attributes) override {
      found = attributes.find("Id");
      return {};
    }
    std::optional<std::string> found;
  };
  Finder finder;
  XmlReader reader(finder, 1000, kTestSalt);
  ASSERT_TRUE(reader.feed("<a xmlns:p='urn:p' p:Id='no' Id='yes'/>"));
  EXPECT_EQ(finder.found, "yes");
  reader.reset();
  ASSERT_TRUE(reader.feed("<a xmlns:p='urn:p' p:Id='no'/>"));
  EXPECT_EQ(finder.found, std::nullopt);
}

TEST(XmlReader, RefusesADoctypeBeforeAnyElementIsSeen) {
  for (std::string_view document :
       {"<!DOCTYPE a><a/>", "<?xml version='1.0'?>\n<!DOCTYPE a SYSTEM 'http://example.test/x.dtd'><a/>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
        "<!DOCTYPE a [<!ENTITY x 'xx'><!ENTITY y '&x;&x;'><!ENTITY z '&y;&y;'>]><a>&z;</a>",
        "<!DOCTYPE a [<?p?><!ENTITY % x 'y'>%x;]><a/>"}) {
    RecordingReader reader;
    EXPECT_EQ(read_whole(reader, document), "xml doctype") << document;
    EXPECT_EQ(reader.recorder.log, "");
    EXPECT_EQ(read_pieces(reader, single_bytes(document)), "xml doctype");
    EXPECT_EQ(reader.recorder.log, "");
  }
}

TEST(XmlReader, RefusesAProcessingInstructionAndGivesNothingAfterIt) {
  EXPECT_EQ(read("<?xml-stylesheet href='x'?><a/>"), "xml processing_instruction");
  EXPECT_EQ(read("<a/><?p?>"), "xml processing_instruction");
  RecordingReader reader;
  EXPECT_EQ(read_whole(reader, "<a><?p?><b/></a>"), "xml processing_instruction");
  EXPECT_EQ(reader.recorder.log, "<a>");
}

TEST(XmlReader, TakesUtf8OnlyWithOrWithoutByteOrderMark) {
  EXPECT_EQ(read("\xef\xbb\xbf<a>\xc3\xa9</a>"), "<a></\xc3\xa9>");
  EXPECT_EQ(read("<?xml version='1.0' encoding='utf-8'?><a/>"), "<a></>");
  EXPECT_EQ(read("<?xml version='1.0' encoding='Utf-8'?><a/>"), "<a></>");
  for (std::string_view name : {"ISO-8859-1", "UTF-16", "UTF-7", "US-ASCII", "windows-1252", "utf-32"}) {
    EXPECT_EQ(read(fmt::format("<?xml version='1.0' encoding='{}'?><a/>", name)), "xml encoding") << name;
  }
  using namespace std::string_view_literals;
  for (std::string_view start :
       {"\xff\xfe<\0a\0/\0>\0"sv, "\xfe\xff\0<\0a\0/\0>"sv, "<\0a\0/\0>\0"sv, "\0<\0a\0/\0>"sv, "\0\0\xfe\xff"sv}) {
    RecordingReader reader;
    EXPECT_EQ(read_whole(reader, start), "xml encoding");
    EXPECT_EQ(read_pieces(reader, single_bytes(start)), "xml encoding");
    EXPECT_EQ(reader.recorder.log, "");
  }
}

TEST(XmlReader, AFirstByteThatBeginsNoDocumentIsMalformedWhateverFollows) {
  for (std::string_view start : {std::string_view("\x0b\0 ", 3), std::string_view("a\0", 2), std::string_view("x<a/>")}) {
    RecordingReader reader;
    EXPECT_EQ(read_whole(reader, start), "xml malformed");
    EXPECT_EQ(read_pieces(reader, single_bytes(start)), "xml malformed");
  }
}

TEST(XmlReader, RefusesWhatIsNotWellFormed) {
  using namespace std::string_view_literals;
  for (std::string_view document :
       {"<a>\xc0\x80</a>"sv, "<a>\xed\xa0\x80</a>"sv, "<a>\xff</a>"sv, "<a>\0</a>"sv, "<a>&#0;</a>"sv,
        "<a>&#xD800;</a>"sv, "<a>\x01</a>"sv, "<a>&nbsp;</a>"sv, "<a></b>"sv, "<a/><b/>"sv, "x<a/>"sv, "<a/>x"sv,
        "<p:a/>"sv, "<a b='1' b='2'/>"sv, "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>"sv, "<a b=1/>"sv,
        "<a b='<'/>"sv, "<a>]]></a>"sv, "<a><!-- -- --></a>"sv}) {
    EXPECT_EQ(read(document), "xml malformed") << document;
  }
}

TEST(XmlReader, BoundsTheDepth) {
  EXPECT_NE(read(nested(kXmlDepthMax)), "xml depth");
  EXPECT_EQ(read(nested(kXmlDepthMax + 1)), "xml depth");
}

TEST(XmlReader, BoundsAttributesAndNamespaceDeclarationsTogether) {
  auto element = [](size_t attributes, size_t declarations) {
    std::string document = "<a";
    for (size_t i = 0; i < attributes; ++i) document += fmt::format(" a{}='{}'", i, i);
    for (size_t i = 0; i < declarations; ++i) document += fmt::format(" xmlns:p{}='urn:{}'", i, i);
    return document + "/>";
  };
  EXPECT_TRUE(read(element(kXmlAttributesMax, 0)).starts_with("<a"));
  EXPECT_TRUE(read(element(kXmlAttributesMax - 10, 10)).starts_with("<a"));
  EXPECT_EQ(read(element(kXmlAttributesMax + 1, 0)), "xml attributes");
  EXPECT_EQ(read(element(0, kXmlAttributesMax + 1)), "xml attributes");
  EXPECT_EQ(read(element(kXmlAttributesMax - 9, 10)), "xml attributes");
  // Counted per element.
  EXPECT_TRUE(read("<x>" + element(0, 60) + element(0, 60) + "</x>").starts_with("<x"));
}

TEST(XmlReader, BoundsNamesPrefixesAndNamespaces) {
  std::string longest(kXmlNameBytesMax, 'n');
  std::string longer = longest + "n";
  EXPECT_TRUE(read(fmt::format("<{0} {0}='1' xmlns:{0}='{0}'/>", longest)).starts_with("<n"));
  EXPECT_EQ(read(fmt::format("<{}/>", longer)), "xml name");
  EXPECT_EQ(read(fmt::format("<a {}='1'/>", longer)), "xml name");
  EXPECT_EQ(read(fmt::format("<a xmlns:{}='u'/>", longer)), "xml name");
  EXPECT_EQ(read(fmt::format("<a xmlns='{}'/>", longer)), "xml name");
}

TEST(XmlReader, BoundsTheTextOfOneElement) {
  std::string longest(kXmlTextBytesMax, 't');
  EXPECT_EQ(read("<a>" + longest + "</a>"), "<a></" + longest + ">");
  EXPECT_EQ(read("<a>" + longest + "t</a>"), "xml text");
  EXPECT_EQ(read("<a><![CDATA[" + longest + "]]>t</a>"), "xml text");
  EXPECT_EQ(read("<a>" + longest + "<b/>t</a>"), "xml text");
  // Each element has its own bound.
  EXPECT_NE(read("<a>" + longest + "<b>" + longest + "</b></a>"), "xml text");
}

TEST(XmlReader, BoundsTheDocument) {
  std::string document = "<a>0123456789</a>";
  RecordingReader exact(uint32_t(document.size()));
  EXPECT_EQ(read_whole(exact, document), "<a></0123456789>");
  RecordingReader shorter(uint32_t(document.size() - 1));
  expect_splits_agree(shorter, document);
  EXPECT_EQ(read_whole(shorter, document), "xml document");
  // A fault inside of the limit is reported as such.
  EXPECT_EQ(read_whole(shorter, "<a></b>" + document), "xml malformed");
}

TEST(XmlReader, BoundsItsMemory) {
  std::string document = "<a>";
  for (size_t i = 0; document.size() + 20 < kXmlEwsAnswerBytesMax; ++i)
    document += fmt::format("<{}{:x}/>", char('a' + i % 26), i);
  RecordingReader reader;
  EXPECT_EQ(read_whole(reader, document), "xml memory");
  reader.reset();
  EXPECT_LE(reader.reader.pool_bytes(), 64u * 1024);
  EXPECT_EQ(read_whole(reader, kMixed), kMixedLog);
}

TEST(XmlReader, StopsWhereTheConsumerRefuses) {
  RecordingReader reader;
  reader.recorder.refused_name = "b";
  EXPECT_EQ(read_whole(reader, "<a><b/><c/></a>"), "ews bad_value");
  EXPECT_EQ(reader.recorder.log, "<a><b>");
  Status again = reader.feed("<d/>");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error(), ews_error(EwsError::bad_value, 3)) << "the same error, with the position";
  auto result = reader.finish();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error(), again.error());
}

TEST(XmlReader, NamesTheBytePositionOfAnError) {
  RecordingReader reader;
  Status status = reader.feed("<a>12345<?p?></a>");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error(), xml_error(XmlError::processing_instruction, 8));
  register_xml_error_texts();
  EXPECT_EQ(error_text(status.error()), "xml: a processing instruction is not accepted, at byte 8");
}

TEST(XmlReader, ReadsOnAfterAResetAsIfNew) {
  RecordingReader reader;
  for (std::string_view bad : {"<a", "<a><b>text", "<!DOCTYPE a>", "<a xmlns:p='urn:q'><p:b>", "</a>", "\xff\xfe"}) {
    EXPECT_TRUE(read_whole(reader, bad).starts_with("xml "));
    EXPECT_EQ(read_whole(reader, kMixed), kMixedLog);
  }
}

TEST(XmlReader, LeavesNothingOfTheDocumentInItsMemoryAfterAReset) {
  struct Keeper : XmlConsumer {
    Status element_started(XmlName name, const XmlAttributes& attributes) override {
      views.push_back(name.local);
      if (attributes.size() > 0) views.push_back(attributes.at(0).value);
      return {};
    }
    Status element_ended(std::string_view text) override {
      views.push_back(text);
      return {};
    }
    std::vector<std::string_view> views;
  };
  Keeper keeper;
  XmlReader reader(keeper, 1000, kTestSalt);
  // Memory that the reader keeps: the views still point into it after the reset.
  for (std::string_view piece : {"<password-one v='password-", "two'>password-thr", "ee</password-one>"})
    ASSERT_TRUE(reader.feed(piece));
  ASSERT_TRUE(reader.finish());
  ASSERT_EQ(keeper.views.size(), 3u);
  EXPECT_EQ(keeper.views[1], "password-two");
  reader.reset();
  for (std::string_view view : keeper.views) EXPECT_EQ(view.find("ssword"), view.npos);
}

TEST(XmlReader, DoesNotTouchTheHeapAfterWarmUp) {
  if (!test::heap_is_counted()) GTEST_SKIP() << "the sanitizer has its own heap";
  struct Counter : XmlConsumer {
    Status element_started(XmlName, const XmlAttributes&) override { return {}; }
    Status element_ended(std::string_view) override { return ++elements, Status(); }
    int elements = 0;
  };
  Counter counter;
  XmlReader reader(counter, 1000, kTestSalt);
  auto read_once = [&] {
    reader.reset();
    return reader.feed(kMixed.substr(0, 70)) && reader.feed(kMixed.substr(70)) && reader.finish();
  };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(read_once());
  uint64_t before_control = test::heap_allocations();
  auto control = std::make_unique<int>(1);
  asm volatile("" : : "r"(control.get()) : "memory");  // the optimiser must not drop it
  ASSERT_GT(test::heap_allocations(), before_control) << "the count does not count";
  uint64_t before = test::heap_allocations();
  bool all_read = true;
  for (int i = 0; i < 1000; ++i) all_read &= bool(read_once());
  EXPECT_EQ(test::heap_allocations() - before, 0u);
  EXPECT_TRUE(all_read);
  EXPECT_EQ(counter.elements, 1003 * 3);
}

TEST(XmlPool, RestoresWhatItKeptAndWipesTheRest) {
  XmlPool pool(1 << 20);
  auto* kept = static_cast<char*>(pool.allocate(100));
  auto* freed = static_cast<char*>(pool.allocate(100));
  strcpy(kept, "as it was");
  XmlPool::release(freed);
  auto as_it_was = pool.keep();
  ASSERT_TRUE(as_it_was);

  strcpy(kept, "changed");
  EXPECT_EQ(pool.allocate(120), freed) << "the freed block serves the next of its size";
  memset(freed, 'S', 100);
  std::vector<char*> later;
  for (int i = 0; i < 6; ++i) {  // into a second chunk
    later.push_back(static_cast<char*>(pool.allocate(8000)));
    memset(later.back(), 'S', 8000);
  }
  XmlPool::release(later[0]);
  ASSERT_NE(pool.allocate(100'000), nullptr);
  EXPECT_GT(pool.bytes(), 2u * 32 * 1024 + 100'000);
  EXPECT_FALSE(pool.keep()) << "too much to copy";

  pool.restore(*as_it_was, 64 * 1024);
  EXPECT_STREQ(kept, "as it was");
  EXPECT_EQ(pool.blocks_in_use(), 1u);
  EXPECT_EQ(pool.bytes(), 2u * 32 * 1024) << "the large block went back to the heap";
  EXPECT_EQ(std::string_view(freed, 128).find('S'), std::string_view::npos);
  for (const char* block : later) EXPECT_EQ(std::string_view(block, 8000).find('S'), std::string_view::npos);
  EXPECT_EQ(pool.allocate(120), freed) << "its free blocks are back as well";
  XmlPool::release(freed);
  pool.restore(*as_it_was, 32 * 1024);
  EXPECT_EQ(pool.bytes(), 32u * 1024);
  XmlPool::release(kept);
}

TEST(XmlPool, KeepsContentWhenABlockGrows) {
  XmlPool pool(1 << 20);
  auto* block = static_cast<char*>(pool.allocate(32));
  memset(block, 'x', 32);
  for (size_t size : {40u, 5000u, 100000u, 200000u}) {
    block = static_cast<char*>(XmlPool::reallocate(block, size));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(std::string_view(block, 32), std::string(32, 'x'));
    EXPECT_EQ(pool.blocks_in_use(), 1u);
  }
  XmlPool::release(block);
  EXPECT_EQ(pool.blocks_in_use(), 0u);
}

TEST(XmlPool, RefusesToGrowPastItsBound) {
  XmlPool pool(64 * 1024);
  EXPECT_EQ(pool.allocate(64 * 1024), nullptr) << "with its header it does not fit";
  EXPECT_EQ(pool.allocate(SIZE_MAX), nullptr);
  std::vector<void*> blocks;
  while (void* block = pool.allocate(1000)) blocks.push_back(block);
  EXPECT_EQ(pool.bytes(), 64u * 1024);
  EXPECT_GT(blocks.size(), 55u);
  for (void* block : blocks) XmlPool::release(block);
  EXPECT_NE(pool.allocate(1000), nullptr) << "what was freed is there again";
  XmlPool::release(blocks.back());
}

TEST(XmlEscaping, MakesAnyTextHarmless) {
  auto escaped = [](std::string_view text) {
    std::string out;
    append_xml_escaped(out, text);
    return out;
  };
  EXPECT_EQ(escaped("<a b=\"c\" d='e'>&amp;</a>"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;amp;&lt;/a&gt;");
  EXPECT_EQ(escaped("a\tb\r\nc"), "a&#9;b&#13;&#10;c");
  EXPECT_EQ(escaped("\x01\x1f\x7f"), "\xef\xbf\xbd\xef\xbf\xbd\x7f");
  EXPECT_EQ(escaped(std::string_view("\0", 1)), "\xef\xbf\xbd");
  EXPECT_EQ(escaped("\xc3\xa9\xf0\x9f\x94\x94"), "\xc3\xa9\xf0\x9f\x94\x94");
  EXPECT_EQ(escaped("\xc3"), "\xef\xbf\xbd");
  EXPECT_EQ(escaped("\xff\xef\xbf\xbe"), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(XmlEscaping, KeepsEveryTextThatXmlCanExpress) {
  std::mt19937 random(3);
  RecordingReader reader;
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (size_t size = random() % 20; size > 0; --size)
      text.push_back(char(random() % 4 == 0 ? random() : 0x20 + random() % 0x60));
    std::string document = "<a v=\"";
    append_xml_escaped(document, text);
    document += "\">";
    append_xml_escaped(document, text);
    document += "</a>";
    std::string result = read_whole(reader, document);
    ASSERT_FALSE(result.starts_with("xml ")) << document;
    EXPECT_EQ(result == fmt::format("<a v={}></{}>", text, text), xml_can_express(text)) << text;
  }
}

}  // namespace
}  // namespace bellhop::proto
