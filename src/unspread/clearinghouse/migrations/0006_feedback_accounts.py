from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('clearinghouse', '0005_log'),
    ]

    operations = [
        migrations.AddField(
            model_name='feedbackrecord',
            name='accounts',
            field=models.IntegerField(db_default=0),
        ),
    ]
