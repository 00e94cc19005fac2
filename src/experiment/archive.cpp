#include "experiment/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <array>

#include "base/error.h"
#include "base/file.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

struct FreeWriter {
  void operator()(archive* writer) const { archive_write_free(writer); }
};
struct FreeReader {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
using Writer = std::unique_ptr<archive, FreeWriter>;
using Reader = std::unique_ptr<archive, FreeReader>;

// Warnings are errors too: an archive that holds almost what was asked is of no use.
void require(archive* handle, int code, const std::string& what) {
  if (code == ARCHIVE_OK) return;
  const char* reason = archive_error_string(handle);
  throw IoError(fmt::format("cannot {}: {}", what, reason == nullptr ? "libarchive gives no reason" : reason));
}

void add_gzip_filter(archive* writer) {
  require(writer, archive_write_add_filter_gzip(writer), "compress by gzip");
  require(writer, archive_write_set_filter_option(writer, "gzip", "timestamp", nullptr), "leave out gzip's time");
}

void write_entry(archive* writer, const std::string& name, std::string_view bytes, const std::string& what) {
  const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(), archive_entry_free);
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(bytes.size()));
  archive_entry_set_mtime(entry.get(), 0, 0);
  require(writer, archive_write_header(writer, entry.get()), what);
  const la_ssize_t written = archive_write_data(writer, bytes.data(), bytes.size());
  require(writer, written == static_cast<la_ssize_t>(bytes.size()) ? ARCHIVE_OK : ARCHIVE_FATAL, what);
}

la_ssize_t append_to_string(archive* /*writer*/, void* text, const void* data, size_t bytes) {
  static_cast<std::string*>(text)->append(static_cast<const char*>(data), bytes);
  return static_cast<la_ssize_t>(bytes);
}

}  // namespace

std::string gzip(std::string_view bytes) {
  const Writer writer(archive_write_new());
  std::string packed;
  add_gzip_filter(writer.get());
  require(writer.get(), archive_write_set_format_raw(writer.get()), "compress");
  require(writer.get(), archive_write_set_bytes_in_last_block(writer.get(), 1), "compress");  // no padding
  require(writer.get(), archive_write_open(writer.get(), &packed, nullptr, append_to_string, nullptr), "compress");
  write_entry(writer.get(), "data", bytes, "compress");
  require(writer.get(), archive_write_close(writer.get()), "compress");
  return packed;
}

std::string read_gzip(const fs::path& path) {
  const Reader reader(archive_read_new());
  const std::string what = "read " + path.string();
  require(reader.get(), archive_read_support_filter_gzip(reader.get()), what);
  require(reader.get(), archive_read_support_format_raw(reader.get()), what);
  require(reader.get(), archive_read_open_filename(reader.get(), path.c_str(), 1 << 16), what);
  archive_entry* entry = nullptr;
  const int code = archive_read_next_header(reader.get(), &entry);
  if (code == ARCHIVE_EOF) return "";  // nothing was packed
  require(reader.get(), code, what);
  std::string text;
  std::array<char, 1 << 16> buffer;
  while (true) {
    const la_ssize_t got = archive_read_data(reader.get(), buffer.data(), buffer.size());
    require(reader.get(), got < 0 ? ARCHIVE_FATAL : ARCHIVE_OK, what);
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
}

struct TarWriter::State {
  fs::path path;
  fs::path partial;
  Writer writer;
};

TarWriter::TarWriter(const fs::path& path)
    : state_(new State{path, path.string() + ".partial", Writer(archive_write_new())}) {
  archive* writer = state_->writer.get();
  const std::string name = path.filename().string();
  const std::string what = "write " + path.string();
  if (name.ends_with(".tar.gz")) {
    add_gzip_filter(writer);
  } else if (name.ends_with(".tar.zst")) {
    require(writer, archive_write_add_filter_zstd(writer), "compress by zstd");
  } else {
    throw UsageError(fmt::format("{}: name the archive .tar.gz or .tar.zst", path.string()));
  }
  // ustar, with pax headers only for what it cannot hold, such as long names.
  require(writer, archive_write_set_format_pax_restricted(writer), what);
  require(writer, archive_write_open_filename(writer, state_->partial.c_str()), what);
}

TarWriter::~TarWriter() {
  if (!state_->writer) return;
  state_->writer.reset();
  std::error_code ignored;
  fs::remove(state_->partial, ignored);
}

void TarWriter::add(const std::string& name, std::string_view bytes) {
  write_entry(state_->writer.get(), name, bytes, "write " + state_->path.string());
}

void TarWriter::finish() {
  require(state_->writer.get(), archive_write_close(state_->writer.get()), "write " + state_->path.string());
  state_->writer.reset();
  rename_durably(state_->partial, state_->path);
}

}  // namespace zo2
