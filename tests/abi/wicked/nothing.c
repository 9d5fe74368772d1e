/* A shared object that is no plugin. */
int nothing_here(void);
int nothing_here(void)
{
    return 1;
}
