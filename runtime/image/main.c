/* SPDX-License-Identifier: Apache-2.0 */
/* The main of an image whose functions are called from outside: where it has started, and where they return to. */
int main(void);

int main(void)
{
    return 0;
}
