"""Speed of jaxgen beside other libraries, whose packages are the extra `bench`."""
