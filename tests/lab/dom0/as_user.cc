// as_user UID PROGRAM [ARGUMENT...]: runs a program as another user without any privilege. The image has no such tool.

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "as_user UID PROGRAM [ARGUMENT...]\n");
    return 2;
  }
  const id_t id = static_cast<id_t>(atoi(argv[1]));
  if (setgroups(0, nullptr) != 0 || setgid(id) != 0 || setuid(id) != 0) {
    perror("as_user");
    return 2;
  }
  execv(argv[2], argv + 2);
  perror(argv[2]);
  return 127;
}
