#include "experiment/config_schema.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace zo2 {
namespace {

Json parse(std::string_view key, std::string_view text, bool quoted = false) {
  return parse_value(*find_key(key), text, quoted);
}

TEST(ConfigSchema, DefaultsAreWithinTheirOwnRanges) {
  std::set<std::string_view> keys;
  for (const KeySpec& spec : config_schema()) {
    EXPECT_TRUE(keys.insert(spec.key).second) << spec.key << " is in the table twice";
    EXPECT_FALSE(spec.meaning.empty()) << spec.key;
    if (spec.default_value.is_null()) continue;
    const std::string text =
        spec.default_value.is_string() ? spec.default_value.get<std::string>() : spec.default_value.dump();
    EXPECT_EQ(parse_value(spec, text), spec.default_value) << spec.key;
  }
}

TEST(ConfigSchema, ValuesGetTheirType) {
  EXPECT_EQ(parse("data.seq", "128"), 128);
  EXPECT_TRUE(parse("method.lr", "1").is_number_float());
  EXPECT_EQ(parse("method.lr", "1e-3"), 1e-3);
  EXPECT_EQ(parse("engine.overlap", "false"), false);
  EXPECT_EQ(parse("engine.tile", "16 MiB"), 16 << 20);
  EXPECT_EQ(parse("engine.tile", "16777216"), 16 << 20);
  EXPECT_EQ(parse("engine.tile", "auto"), "auto");
  EXPECT_EQ(parse("model.tie_embeddings", "null"), nullptr);
}

TEST(ConfigSchema, RefusesWrongTypesAndRanges) {
  for (const auto& [key, text] :
       std::initializer_list<std::pair<const char*, const char*>>{{"data.seq", "0"},
                                                                  {"data.seq", "12.5"},
                                                                  {"data.seq", "1e3"},
                                                                  {"data.seq", "many"},
                                                                  {"data.batch", "-1"},
                                                                  {"method.eps", "0"},
                                                                  {"method.eps", "nan"},
                                                                  {"method.lr", "inf"},
                                                                  {"method.lr", "-1e-6"},
                                                                  {"engine.tile", "0"},
                                                                  {"engine.tile", "16 mib"},
                                                                  {"engine.overlap", "yes"},
                                                                  {"method.name", "zo3"},
                                                                  {"engine.dtype", "fp8"},
                                                                  {"data.seq", "null"},
                                                                  {"data.seq", ""},
                                                                  {"model.name", ""},
                                                                  {"method.lr", "1e-3 "},
                                                                  {"data.seed", "99999999999999999999"},
                                                                  {"engine.gpu_memory",
                                                                   "8"
                                                                   "EB"}}) {
    EXPECT_THROW(parse(key, text), UsageError) << key << " = " << text;
  }
  EXPECT_THROW(parse("data.seq", "128", true), UsageError) << "a quoted number is text";
}

TEST(ConfigSchema, RefusalNamesTheKeyTheExpectationAndTheNearestWord) {
  try {
    parse("engine.dtype", "float16");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "engine.dtype: expected one of fp32, fp16, bf16, found 'float16'");
  }
  try {
    parse("method.name", "residnet");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean 'resident'?"), std::string::npos) << error.what();
  }
}

TEST(ConfigSchema, NearestKeyPrefersTheSameNameInAnotherSection) {
  EXPECT_EQ(nearest_key("engine.lr"), "method.lr");
  EXPECT_EQ(nearest_key("method.writebck_every"), "method.writeback_every");
  EXPECT_EQ(nearest_key("data.sequence"), "data.seq");
  EXPECT_EQ(nearest_key("xyzzy"), "");
}

TEST(ConfigHash, IgnoresDefaultsAndChangesWithAnyValue) {
  const Json config = default_config();
  EXPECT_EQ(config_hash(config), config_hash(Json::parse(config.dump())));
  std::set<std::string> hashes{config_hash(config)};
  for (const KeySpec& spec : config_schema()) {
    Json changed = config;
    config_set(changed, spec.key, spec.kind == ValueKind::boolean ? Json(spec.default_value != true) : Json("other"));
    EXPECT_TRUE(hashes.insert(config_hash(changed)).second) << spec.key;
  }
}

TEST(ConfigHash, IsStable) {
  // SHA-256 of "{}" and of {"method":{"lr":0.001}}: records of earlier versions must keep matching.
  EXPECT_EQ(config_hash(default_config()), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
  Json config = default_config();
  config_set(config, "method.lr", 1e-3);
  EXPECT_EQ(config_hash(config).substr(0, 8), "306fce44");
}

}  // namespace
}  // namespace zo2
