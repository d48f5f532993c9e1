#ifndef ROMULUS_COMMON_LOOP_CALL_SCOPE_H_
#define ROMULUS_COMMON_LOOP_CALL_SCOPE_H_

namespace romulus {

// For tests: counts the calls into an object that are under way, so that a callback from within one can be seen.
class CallScope {
 public:
  explicit CallScope(int* calls) : calls_(calls) { ++*calls_; }
  ~CallScope() { --*calls_; }
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

 private:
  int* const calls_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LOOP_CALL_SCOPE_H_
