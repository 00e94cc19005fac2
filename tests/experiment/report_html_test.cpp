#include "experiment/report_html.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "experiment/synthetic_records.h"

namespace zo2 {
namespace {

class ReportHtmlTest : public SyntheticRecords {
 protected:
  std::string page() { return render_html(build_report(scratch_.path(), {}), figures_in(scratch_.path() / "plots")); }
};

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST_F(ReportHtmlTest, HoldsSummaryTablesCommandsEnvironmentAndRecords) {
  add({.environment = {{"git_commit", "abc123-dirty"}, {"gpu", {{"name", "A GPU"}}}}});
  add({.method = "mezo",
       .state = State::oom,
       .result = {{"error", "4 GiB more are needed"}},
       .environment = {{"git_commit", "abc123-dirty"}, {"gpu", nullptr}}});
  scratch_.write("experiment.json", R"({"name": "e", "manifest": "experiments/quick.yaml", "variant": "small",
      "set": ["model.path=a b"], "cells": [], "expect": [
        {"where": {}, "metric": "tokens_per_s", "written": "at least 90", "at_least": 90, "source": "us"}]})");
  const std::string html = page();
  EXPECT_TRUE(holds(html, "<li>2 records: 1 ok, 1 oom</li>"));
  EXPECT_TRUE(holds(html, "<li>Equality and expectations: 1 PASS, 1 MISSING</li>")) << html;
  EXPECT_TRUE(holds(html, "<td class=\"pass\">PASS</td>"));
  EXPECT_TRUE(holds(html, "<td class=\"oom\">oom</td>"));
  EXPECT_TRUE(holds(html, "git checkout abc123  # and local changes\n"));
  EXPECT_TRUE(holds(html, "zo2 run experiments/quick.yaml --variant small -S &#39;model.path=a b&#39; --out DIR\n"));
  EXPECT_TRUE(holds(html, "<td>gpu.name</td><td>A GPU</td>"));
  EXPECT_TRUE(holds(html, "<summary>opt-125m-zo2 r0: ok</summary>"));
  EXPECT_TRUE(holds(html, "<pre>4 GiB more are needed</pre>"));
}

TEST_F(ReportHtmlTest, NeedsNothingElseAndRunsNothing) {
  add({});
  scratch_.write("plots/a_figure.png", std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x58\0\0\0\1", 24));
  const std::string html = page();
  EXPECT_TRUE(holds(html, "<img width=\"300\" alt=\"a figure: "));
  EXPECT_TRUE(holds(html, "src=\"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAlgAAAAB\""));
  for (const char* foreign : {"http", "<script", "<link", "@import", "url("})
    EXPECT_FALSE(holds(html, foreign)) << foreign;
  EXPECT_FALSE(holds(html, scratch_.path().string())) << "no path of this machine";
}

TEST_F(ReportHtmlTest, WhatRecordsSayIsTextNotMarkup) {
  add({.state = State::crashed, .result = {{"error", "<script>alert('&\"')</script>"}}});
  scratch_.write("experiment.json", R"({"name": "<b>", "cells": [], "expect": []})");
  const std::string html = page();
  EXPECT_TRUE(holds(html, "<h1>&lt;b&gt;</h1>"));
  EXPECT_TRUE(holds(html, "<pre>&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;</pre>"));
  EXPECT_FALSE(holds(html, "<script"));
}

TEST_F(ReportHtmlTest, AFigureThatCannotBeReadIsAnError) {
  add({});
  EXPECT_THROW(render_html(build_report(scratch_.path(), {}), {scratch_.path() / "absent.png"}), IoError);
}

}  // namespace
}  // namespace zo2
