#include "secondary/target/checkpoint_pipe.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

namespace romulus {
namespace {

class CheckpointPipeTest : public testing::Test {
 protected:
  CheckpointPipeTest() { signal(SIGPIPE, SIG_IGN); }
  CheckpointPipe::Ends ends_ = *CheckpointPipe::New();
};

std::string ReadAll(int fd) {
  std::string all;
  char buffer[65536];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got <= 0) return all;
    all.append(buffer, got);
  }
}

TEST_F(CheckpointPipeTest, AllBytesArriveInOrderAndThenTheEnd) {
  std::string checkpoint;
  // More than any pipe holds, so that Write has to wait for the reader.
  for (int i = 0; i < 3'000'000; ++i) checkpoint.push_back(static_cast<char>(i * 2654435761u >> 24));
  std::thread writer([&] {
    EXPECT_TRUE(ends_.writer->Write(checkpoint).ok());
    EXPECT_TRUE(ends_.writer->Write(std::string("tail")).ok());
    ends_.writer->Close();
  });
  EXPECT_TRUE(ReadAll(ends_.reader.get()) == checkpoint + "tail");
  writer.join();
}

TEST_F(CheckpointPipeTest, PiecesOfAnySizeArriveInOrder) {
  // More of them than one write takes, and more bytes than the pipe holds.
  std::vector<std::string> parts;
  std::vector<absl::Span<const char>> pieces;
  std::string all;
  for (size_t i = 0; i < 100; ++i) {
    parts.push_back(std::string(i % 7 == 0 ? 0 : i * 997 % 70'000, static_cast<char>('a' + i % 26)));
  }
  for (const std::string& part : parts) {
    pieces.push_back(part);
    all += part;
  }
  std::thread writer([&] {
    EXPECT_TRUE(ends_.writer->Write(pieces).ok());
    ends_.writer->Close();
  });
  EXPECT_TRUE(ReadAll(ends_.reader.get()) == all);
  writer.join();
}

TEST_F(CheckpointPipeTest, CancelEndsABlockedWriteAndAllLaterOnes) {
  absl::Status status;
  std::thread writer([&] { status = ends_.writer->Write(std::string(64 << 20, 'x')); });
  // The pipe is being filled: from here on the writer waits for a reader that does not read.
  char first = 0;
  ASSERT_EQ(read(ends_.reader.get(), &first, 1), 1);
  ends_.writer->Cancel();
  writer.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(absl::IsCancelled(ends_.writer->Write(std::string("more"))));
}

TEST_F(CheckpointPipeTest, AReaderThatIsGoneIsSaid) {
  ends_.reader.Reset();
  EXPECT_TRUE(absl::IsUnavailable(ends_.writer->Write(std::string("x"))));
}

}  // namespace
}  // namespace romulus
