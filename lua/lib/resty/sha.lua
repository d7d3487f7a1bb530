-- Digests of the SHA family: nothing is shared among their modules here.
return {}
